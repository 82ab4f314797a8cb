"""The log of acts: every act, on every way to do it, has its line; the last failure of a job stands until it is mended."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime
from subprocess import Popen

import pytest

import backup_pipeline as bp
from backup_pipeline.config import Settings
from backup_pipeline.errors import BackupError, ConfigError, NotFound, SourceError
from backup_pipeline.model.acts import LOOK_BACK, Act, Place, unmended
from backup_pipeline.operations import Site
from backup_pipeline.state import acts
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.damage import alter


def settings_of(shop: Folder) -> Settings:
    return Site.load(shop.path / "backup.yaml").settings


def failing(shop: Folder) -> dict[str, Act]:
    now = datetime.now(UTC)
    return {act.verb: act for act in unmended(acts.of(settings_of(shop), "shop", now - LOOK_BACK))}


def configure(shop: Folder, more: str, old: str = "", new: str = "") -> None:
    path = shop.path / "backup.yaml"
    path.write_text(more + path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def test_every_verb_that_changes_or_judges_has_its_line(shop: Folder) -> None:
    configure(shop, "retention: {last: 2, grace: 1s}\ncopies: {offsite: ./offsite}\n")
    ids = [shop.backup() for _ in range(2)]
    for words in (
        ("verify", "shop"),
        ("drill", "shop", "--no-record"),
        ("scrub", "--all"),
        ("copy", "shop"),
        ("repair", "shop"),
        ("pin", "shop", ids[0]),
        ("unpin", "shop", ids[0]),
        ("restore", "shop", "--to", "sqlite:///restored.db"),
        ("forget", "shop", ids[0], "--yes"),
        ("prune", "shop"),
    ):
        shop.good(*words)
    # What only looks, or was mistyped, is no act.
    shop.good("prune", "shop", "--dry-run")
    shop.good("list")
    assert shop.run("drill", "shop", "2026-01-01T00-00-00-000Z").code == NotFound.exit_code
    assert shop.run("prune", "shop", "--nonsense").code == 2
    done = tuple(acts.of(settings_of(shop), "shop"))
    assert all(act.ok and act.origin == "cli" and not act.run and act.seconds >= 0 for act in done)
    assert [(act.verb, act.place) for act in done] == [
        *[("backup", ""), ("copy", "offsite")] * 2,
        ("verify", ""),
        ("drill", ""),
        ("scrub", ""),
        ("copy", "offsite"),
        ("repair", ""),
        ("pin", ""),
        ("unpin", ""),
        ("restore", ""),
        ("forget", ""),
        ("prune", ""),
    ]
    assert [act.backup for act in done if act.verb == "backup"] == ids
    assert {act.system for act in done if act.verb != "scrub"} == {"shop"}


def test_a_failure_stands_with_its_cause_and_remedy_until_it_is_mended(shop: Folder, no_pauses: None) -> None:
    password = "hunter2-and-more"
    configure(shop, "", "sqlite:///shop.db", f"postgresql://app:{password}@127.0.0.1:1/shop")
    ended = shop.run("inventory", "shop")
    failed = shop.run("backup", "shop", "--no-record")
    assert (ended.code, failed.code) == (SourceError.exit_code, SourceError.exit_code)
    (act,) = failing(shop).values()
    assert (act.verb, act.exit_code, act.code) == ("backup", 4, "source-unavailable")
    assert act.message in failed.stderr
    assert act.remedy
    log = next((shop.path / ".backup-pipeline" / "acts").iterdir()).read_text(encoding="utf-8")
    assert password not in log
    configure(shop, "", f"postgresql://app:{password}@127.0.0.1:1/shop", "sqlite:///shop.db")
    shop.backup()
    assert failing(shop) == {}
    # What a look finds is a failure of the look.
    for stored in (shop.path / "vault" / "objects").rglob("*.zst"):
        alter(stored)
    assert shop.run("verify", "shop").code == 10
    assert failing(shop)["verify"].code == "proof-failed"


def test_a_copy_that_failed_is_not_mended_by_another_one(shop: Folder) -> None:
    configure(shop, "copies: {offsite: ./offsite, onsite: ./onsite}\n")
    (shop.path / "offsite").write_text("not a folder")
    assert shop.run("backup", "shop", "--no-record").code == 17
    assert shop.run("copy", "shop", "--to", "onsite").code == 0
    assert [(act.verb, act.place) for act in failing(shop).values()] == [("copy", "offsite")]
    (shop.path / "offsite").unlink()
    shop.good("copy", "shop")
    assert failing(shop) == {}


def test_what_python_does_is_written_down_as_well(shop: Folder) -> None:
    config = shop.path / "backup.yaml"
    made = bp.backup("shop", config=config)
    bp.verify("shop", config=config)
    bp.drill("shop", config=config)
    with pytest.raises(NotFound):
        bp.drill("shop", "2026-01-01T00-00-00-000Z", config=config)
    assert [(act.verb, act.origin, act.ok) for act in acts.of(settings_of(shop))] == [
        ("backup", "python", True),
        ("verify", "python", True),
        ("drill", "python", True),
    ]
    assert next(acts.of(settings_of(shop))).backup == made.id
    (shop.path / "shop.db").unlink()
    with pytest.raises(BackupError) as caught:
        bp.backup("shop", config=config)
    assert failing(shop)["backup"].message == caught.value.message


def test_what_a_person_accepted_is_written_down(shop: Folder) -> None:
    shop.backup()
    shop.good("ack", "shop", "never-proven", "--for", "7d", "--because", "tomorrow")
    shop.good("ack", "shop")
    shop.good("ack", "shop", "never-proven", "--withdraw")
    done = [act for act in acts.of(settings_of(shop)) if act.verb == "ack"]
    assert [dict(act.facts) for act in done] == [{"accepted": "never-proven"}, {"withdrawn": "never-proven"}]


def test_a_recorded_run_is_named(shop: Folder) -> None:
    shop.good("backup", "shop")
    (act,) = acts.of(settings_of(shop))
    assert act.origin == "cli"
    assert len(act.run) == len("00000000-0000-0000-0000-000000000000")


def test_a_log_that_cannot_be_written_fails_nothing(shop: Folder) -> None:
    (shop.path / ".backup-pipeline").mkdir()
    (shop.path / ".backup-pipeline" / "acts").write_text("in the way")
    ended = shop.run("backup", "shop", "--no-record", "--json")
    assert ended.code == 0
    assert "cannot be written" in ended.stderr
    bp.backup("shop", config=shop.path / "backup.yaml")
    assert failing(shop) == {}


WRITER = """
import sys
from backup_pipeline.model.acts import Act
from backup_pipeline.state import acts
from backup_pipeline.operations import Site
settings = Site.load(sys.argv[1]).settings
for number in range(300):
    acts.record(settings, Act("backup", message=f"{sys.argv[2]}-{number} " + "x" * (number * 7)))
"""


def test_lines_of_processes_at_once_do_not_mix_and_a_torn_one_hides_no_other(shop: Folder) -> None:
    settings = settings_of(shop)
    acts.record(settings, Act("drill", message="before"))
    (log,) = (settings.state_folder / "acts").iterdir()
    with log.open("ab") as stream:
        stream.write(b'{"verb":"dri')
    config = str(shop.path / "backup.yaml")
    writers = [Popen([sys.executable, "-c", WRITER, config, name]) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    with log.open("ab") as stream:
        stream.write(b'\xff\n[1, 2]\n{"verb":3}\n')
    found = Counter(act.message.split(" ")[0] for act in acts.of(settings))
    assert found == Counter(["before", *(f"{name}-{number}" for name in "abc" for number in range(300))])
    # Beyond a place: what is whole, once.
    seen, place = acts.beyond(settings, Place())
    assert len(seen) == 901
    acts.record(settings, Act("prune"))
    after, place = acts.beyond(settings, place)
    assert [act.verb for act in after] == ["prune"]
    assert acts.beyond(settings, place) == ((), place)


def test_a_configuration_that_is_wrong_is_no_run_that_failed(shop: Folder) -> None:
    """`copy` where no copies are configured was an error of `status` until a person accepted it."""
    shop.backup()
    assert shop.run("copy", "shop").code == 2
    with pytest.raises(ConfigError):
        bp.copy("shop", config=shop.path / "backup.yaml")
    assert failing(shop) == {}
    assert "last-run-failed" not in shop.run("status").stdout
