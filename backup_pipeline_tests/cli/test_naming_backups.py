"""How a backup is named on a command line: `latest~2`, the beginning of an id, a day, the newest before a time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline_tests.cli.conftest import Folder

#: In UTC; the system's zone is Berlin's, an hour ahead.
TIMES = ("2026-11-19T02:00", "2026-11-20T02:00", "2026-11-20T14:00", "2026-11-20T15:00", "2026-11-21T02:00")


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
        "2026-11-19": first,
        "2026-11-21T02-00-00-000Z": last,
    }.items():
        assert shop.good("show", "shop", said, "--json").data["manifest"]["id"] == meant, said
        assert night != meant
    for verb in (["verify", "shop", "latest~3"], ["query", "shop", "2026-11-20T02", "select 1"]):
        shop.good(*verb)
    shop.good("pin", "shop", "2026-11-20T02")
    assert night in shop.good("unpin", "shop", "2026-11-20T02").stdout


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


def test_a_restore_takes_the_newest_before_a_time(shop: Folder, ids: list[str]) -> None:
    first, night, noon, _, last = ids
    for before, meant in {
        "2026-11-20": first,
        "2026-11-20 15:00": night,  # Berlin's
        "2026-11-20 15:01": noon,
        "2026-11-20T14:30Z": noon,
        "2026-12-24": last,
    }.items():
        plan = shop.good(
            "restore", "shop", "--before", before, "--to", shop.restored, "--dry-run", "--json"
        ).data
        assert plan["backup_id"] == meant, before
    none = shop.run("restore", "shop", "--before", "2026-11-01", "--to", shop.restored, "--json")
    assert (none.code, "2026-11-01" in none.error["message"]) == (3, True)
    for wrong in (["latest", "--before", "2026-11-20"], ["--before", "yesterday"]):
        assert shop.run("restore", "shop", *wrong, "--to", shop.restored).code == 2
    assert not (shop.path / "restored.db").exists()
    shop.good("restore", "shop", "--before", "2026-11-20", "--to", shop.restored)
    assert (shop.path / "restored.db").exists()
