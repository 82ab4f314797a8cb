"""What the next backup needs, by what is known of earlier ones, and whether it fits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from backup_pipeline.health.room import Amount, Place, judge, need_of
from backup_pipeline.model.outline import Outline, OutlineObject

MIB = 2**20


def outline(plain: int, *sizes: int, since: Sequence[OutlineObject] = ()) -> Outline:
    """A backup of `plain` bytes that stored objects of these sizes, beside those of another."""
    new = tuple(OutlineObject(f"{plain}-{n}-{len(since)}", size, ".tsv.zst") for n, size in enumerate(sizes))
    moment = "2026-11-01T02:00:00.000Z"
    id_ = "2026-11-01T02-00-00-000Z"
    return Outline("shop", id_, "manual", "full", moment, moment, moment, "", plain, (*since, *new))


def place(free: int, *needs: Amount, name: str = "vault", **more: object) -> Place:
    return Place(name, f"/{name}", needs, free=free, total=1000 * MIB, **more)  # type: ignore[arg-type]


def codes(*places: Place) -> dict[str, str]:
    return {one.code: one.severity for one in judge(places)}


def test_without_a_backup_only_a_wide_guess_can_be_made() -> None:
    need = need_of("shop", (), 100 * MIB, 0, None)
    assert need.first == need.next
    assert need.first is not None
    assert (need.first.least, need.first.most) == (10 * MIB, 100 * MIB)
    learned = need_of("shop", (), 100 * MIB, 0, 0.3).first
    assert learned is not None
    assert (learned.least, learned.most) == (15 * MIB, 60 * MIB), "others of this vault say how it compresses"
    assert need_of("shop", (), None, 0, 0.3).first is None, "it is not known how much there is"


def test_earlier_backups_say_what_a_full_one_takes_and_what_a_night_adds() -> None:
    one = outline(1000, 400)
    two = outline(1010, 10, since=one.objects)
    three = outline(1020, 20, since=two.objects)
    need = need_of("shop", (one, two, three), None, 0, None)
    assert need.first is not None
    assert need.next is not None
    assert need.first.least == need.first.most == 430
    assert (need.next.least, need.next.most) == (15, 40)
    grown = need_of("shop", (one, two, three), None, 1020, None).next
    assert grown is not None
    assert (grown.least, grown.most) == (15 + 215, 40 + 430), "what came since compresses as the rest does"


@pytest.mark.parametrize(
    ("free", "expected"),
    [(9, {"disk-full": "error"}), (50, {"disk-low": "warning"}), (150, {"disk": "info"})],
)
def test_a_disk_is_judged_by_the_least_and_the_most(free: int, expected: dict[str, str]) -> None:
    assert codes(place(free * MIB, Amount(10 * MIB, 100 * MIB, 1))) == expected


def test_places_on_one_disk_have_it_together() -> None:
    need = Amount(10 * MIB, 10 * MIB, 1)
    apart = place(15 * MIB, need, disk=1), place(15 * MIB, need, name="copy usb", disk=2)
    assert codes(*apart) == {"disk-low": "warning"}, "each has what it needs, and less than a twentieth"
    together = place(15 * MIB, need, disk=1), place(15 * MIB, need, name="copy usb", disk=1)
    (finding,) = judge(together)
    assert (finding.code, finding.severity) == ("disk-full", "error")
    assert "vault and copy usb" in finding.message


def test_files_that_cannot_be_made_are_no_room() -> None:
    need = Amount(1, 1, 100)
    assert codes(place(500 * MIB, need, free_files=99)) == {"disk": "info", "inodes-low": "error"}
    assert codes(place(500 * MIB, need, free_files=200)) == {"disk": "info", "inodes-low": "warning"}
    assert codes(place(500 * MIB, need, free_files=300)) == {"disk": "info"}


def test_what_is_not_known_is_said_and_never_taken_for_room() -> None:
    (finding,) = judge([Place("vault", "s3://b/p", why="a bucket has no end, and a bill")])
    assert (finding.code, finding.severity) == ("room-unknown", "info")
    assert "a bucket has no end" in finding.message
    assert (
        codes(Place("vault", "/v", unknown=("shop",), free=500 * MIB, total=1000 * MIB))["room-unknown"]
        == "info"
    )
