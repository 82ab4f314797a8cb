"""How a backup is named on a command line: `latest~2`, the beginning of an id, a day, the newest before a time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline_tests.cli.conftest import Folder

#: In UTC; the system's zone is Berlin's, an hour ahead: the first backup is of the 20th there, and not of the 19th.
TIMES = ("2026-11-19T23:00", "2026-11-20T02:00", "2026-11-20T14:00", "2026-11-20T15:00", "2026-11-21T02:00")


@pytest.fixture
def ids(shop: Folder) -> list[str]:
    """Of five backups; the last one on the 20th is partial."""
    site = Site.load(shop.path / "backup.yaml", environ={})
    made = []
    for time in TIMES:
        moment = datetime.fromisoformat(time).replace(tzinfo=UTC)
        site.clock = lambda moment=moment: moment  # type: ignore[misc]
        made.append(
            backup(site, BackupOrder("shop", only=("orders",) if "15:00" in time else ())).manifest.id
        )
    return made


def test_a_backup_is_found_by_its_place_its_beginning_or_its_day(shop: Folder, ids: list[str]) -> None:
    first, night, noon, partial, last = ids
    for said, meant in {
        "latest": last,
        "latest~1": noon,  # a partial one is no step
        "latest~3": first,
        "2026-11-20": noon,
        "2026-11-20T14": noon,
        "2026-11-20T15": partial,
        "2026-11-19T23": first,
        "before 2026-11-20 15:00": night,
        "before 2026-11-20 03:00": first,
        "2026-11-21T02-00-00-000Z": last,
    }.items():
        assert shop.good("show", "shop", said, "--json").data["manifest"]["id"] == meant, said
    for verb in (["verify", "shop", "latest~3"], ["query", "shop", "2026-11-20T02", "select 1"]):
        shop.good(*verb)
    shop.good("pin", "shop", "2026-11-20T02")
    assert night in shop.good("unpin", "shop", "2026-11-20T02").stdout
    shop.good("pin", "shop")
    assert f"{last} is not pinned any more" in shop.good("unpin", "shop", "latest").stdout


def test_a_day_without_a_full_backup_names_the_nearest(shop: Folder, ids: list[str]) -> None:
    first, _, _, partial, last = ids
    for day, near in {
        "2026-11-19": f"the nearest full ones are {first} after it",
        "2026-11-22": f"the nearest full ones are {last} before it",
    }.items():
        none = shop.run("show", "shop", day, "--json")
        assert (none.code, none.error["code"]) == (3, "no-backup")
        assert f"of {day} (Europe/Berlin)" in none.error["message"]
        assert none.error["remedy"] == near
    for one in ids[:3]:
        shop.good("forget", "shop", one, "--yes", "--force", "proven")
    alone = shop.run("show", "shop", "2026-11-20", "--json")
    assert f"partial ones are {partial}" in alone.error["message"]
    assert (
        shop.run("show", "shop", "before 2026-11-20", "--json").error["remedy"] == f"the first one is {last}"
    )


def test_a_backup_is_forgotten_by_its_day(shop: Folder, ids: list[str]) -> None:
    _, _, noon, _, last = ids
    asked = shop.run("forget", "shop", "2026-11-20")
    assert (asked.code, noon in asked.stderr) == (2, True)
    assert shop.good("forget", "shop", "2026-11-20", "--yes", "--json").data["report"]["id"] == noon
    newest = shop.run("forget", "shop", "latest", "--yes")
    assert (newest.code, f"forget shop {last} --force newest" in newest.stderr) == (2, True)


def test_what_could_mean_several_or_none_is_an_error_that_says_so(shop: Folder, ids: list[str]) -> None:
    _, night, noon, partial, _ = ids
    several = shop.run("show", "shop", "2026-11-20T", "--json")
    assert several.code == 2
    assert all(one in several.error["message"] for one in (night, noon, partial))
    for said, why in {"latest~4": "it holds 4 full backups", "2026-12": "no backup 2026-12 of shop"}.items():
        none = shop.run("show", "shop", said, "--json")
        assert none.code == 3
        assert why in none.error["message"]
        assert none.error["remedy"]


def test_the_verbs_of_one_backup_take_the_newest_before_a_time(shop: Folder, ids: list[str]) -> None:
    first, night, noon, _, last = ids
    for before, meant in {
        "2026-11-20 00:01": first,  # Berlin's
        "2026-11-20 15:00": night,
        "2026-11-20 15:01": noon,
        "2026-11-20T14:30Z": noon,
        "2026-11-21": noon,
        "2026-12-24": last,
    }.items():
        plan = shop.good(
            "restore", "shop", "--before", before, "--to", shop.restored, "--dry-run", "--json"
        ).data
        assert plan["backup_id"] == meant, before
    none = shop.run("restore", "shop", "--before", "2026-11-01", "--to", shop.restored, "--json")
    assert (none.code, "2026-11-01" in none.error["message"]) == (3, True)
    assert shop.good("show", "shop", "--before", "2026-11-20 15:00", "--json").data["manifest"]["id"] == night
    assert night in shop.good("verify", "shop", "--quick", "--before", "2026-11-20 15:00").stdout
    assert night in shop.good("pin", "shop", "--before", "2026-11-20 15:00").stdout
    for wrong in (["latest", "--before", "2026-11-20"], ["--before", "yesterday"]):
        assert shop.run("restore", "shop", *wrong, "--to", shop.restored).code == 2
    assert not (shop.path / "restored.db").exists()
    shop.good("restore", "shop", "--before", "2026-11-21", "--to", shop.restored)
    assert (shop.path / "restored.db").exists()
