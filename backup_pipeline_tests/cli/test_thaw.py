"""A backup whose objects lie in an archive: what is said, what is asked for, and that it goes on when it is there."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.errors import ConfigError, NotThawed
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.progress import Advance
from backup_pipeline.operations import Site
from backup_pipeline.operations.thawing import Thaw, ensure_readable
from backup_pipeline.stores.s3.thawing import S3Thawing, frozen_of
from backup_pipeline.stores.thawing import Frozen
from backup_pipeline.vault import layout
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.commands import PROGRAM, environment
from backup_pipeline_tests.harness.stores import S3Server


@dataclass(frozen=True)
class Archive:
    folder: Folder
    server: S3Server
    bucket: str
    identifier: str

    @property
    def site(self) -> Site:
        return Site.load(self.folder.path / "backup.yaml")

    @property
    def manifest(self) -> Manifest:
        return self.site.vault.backup("shop", self.identifier).manifest

    def freeze(self, storage_class: str = "GLACIER", most: int = 1000) -> int:
        """What the bucket's lifecycle would have done by now."""
        keys = [f"backups/{layout.object_key(one)}" for one in self.manifest.objects()][:most]
        for key in keys:
            self.server.client.copy_object(
                Bucket=self.bucket,
                Key=key,
                CopySource={"Bucket": self.bucket, "Key": key},
                StorageClass=storage_class,
                MetadataDirective="COPY",
            )
        return len(keys)


@pytest.fixture
def archive(shop: Folder, moto_server: S3Server) -> Archive:
    bucket = moto_server.make_bucket()
    config = shop.path / "backup.yaml"
    vault = f"vault:\n  url: s3://{bucket}/backups\n{moto_server.yaml()}"
    config.write_text(config.read_text().replace("vault: ./vault\n", vault))
    return Archive(shop, moto_server, bucket, shop.backup())


@pytest.fixture
def frozen_copy(shop: Folder, moto_server: S3Server) -> Archive:
    """The vault is a folder; its copy lies in an archive."""
    bucket = moto_server.make_bucket()
    config = shop.path / "backup.yaml"
    store = "".join(f"  {line}\n" for line in moto_server.yaml().splitlines())
    copies = f"copies:\n  offsite:\n    url: s3://{bucket}/backups\n{store}"
    config.write_text(copies + config.read_text())
    made = Archive(shop, moto_server, bucket, shop.backup())
    made.freeze("DEEP_ARCHIVE")
    return made


@contextmanager
def looks_until_thawed(server: S3Server, looks: int) -> Iterator[None]:
    def say(where: str, **body: object) -> None:
        plain = {"Content-Type": "application/json"}
        url = f"{server.endpoint}/moto-api/state-manager/{where}"
        with urllib.request.urlopen(
            urllib.request.Request(url, json.dumps(body).encode(), plain), timeout=10
        ) as answer:
            answer.read()

    model = "s3::keyrestore"
    say("set-transition", model_name=model, transition={"progression": "manual", "times": looks})
    try:
        yield
    finally:
        say("unset-transition", model_name=model)


def test_what_is_readable_is_not_held_up(archive: Archive) -> None:
    assert ensure_readable(archive.site.vault, archive.manifest.objects()) == ()
    archive.folder.good("restore", "shop", "--to", archive.folder.restored)


@pytest.mark.parametrize(
    "verb", [("restore", "shop", "--to", "sqlite:///restored.db"), ("drill", "shop", "--no-record")]
)
def test_without_thaw_it_is_said_how_much_and_how_long_before_anything_is_written(
    archive: Archive, verb: tuple[str, ...]
) -> None:
    count = archive.freeze("DEEP_ARCHIVE")
    ended = archive.folder.run(*verb, "--json")
    assert ended.code == 5
    assert ended.error["code"] == "not-thawed"
    assert f"{count:,} objects" in ended.error["message"]
    assert "--thaw standard: within 12 hours" in ended.error["remedy"]
    assert "--thaw bulk: within 48 hours" in ended.error["remedy"]
    assert "expedited" not in ended.error["remedy"], "Deep Archive has none"
    assert not (archive.folder.path / "restored.db").exists()


def test_with_thaw_the_restore_waits_and_goes_on(archive: Archive) -> None:
    count = archive.freeze()
    ended = archive.folder.good("restore", "shop", "--to", archive.folder.restored, "--thaw", "expedited")
    assert f"{count:,} objects were thawed" in ended.stderr
    assert (archive.folder.path / "restored.db").exists()
    # It stays readable for some days: nothing is asked for again.
    archive.folder.good("drill", "shop", "--no-record")


def test_a_dry_run_shows_the_plan_and_says_what_would_have_to_be_thawed(archive: Archive) -> None:
    archive.freeze("GLACIER", most=1)
    last = archive.manifest.objects()[0]
    assert last == archive.manifest.schema, "the plan itself needs the schema"
    ended = archive.folder.run("restore", "shop", "--to", archive.folder.restored, "--dry-run")
    assert "not-thawed" in ended.stderr


def test_a_verification_reads_what_it_can_and_says_what_it_could_not(archive: Archive) -> None:
    count = archive.freeze()
    ended = archive.folder.good("verify", "shop", "--json")
    report = ended.data["report"]
    (finding,) = [one for one in report["findings"] if one["code"] == "objects-frozen"]
    assert finding["severity"] == "info"
    assert report["counted"]["frozen_objects"] == count
    archive.folder.good("verify", "shop", "--thaw", "bulk")
    after = archive.folder.good("verify", "shop", "--json").data["report"]
    assert "objects-frozen" not in {one["code"] for one in after["findings"]}


def test_an_object_that_is_gone_is_missing_and_not_frozen(archive: Archive) -> None:
    archive.freeze()
    archive.site.vault.store.delete(layout.object_key(archive.manifest.objects()[-1]))
    ended = archive.folder.run("verify", "shop", "--json")
    assert ended.code == 10
    assert "object-missing" in ended.stdout


def test_a_backup_goes_on_although_what_it_builds_on_is_frozen(archive: Archive) -> None:
    archive.freeze()
    # Of the schema the text is needed again. It is small, so AWS leaves it where it is; here it is thawed.
    key = f"backups/{layout.object_key(archive.manifest.schema)}"
    archive.server.client.restore_object(Bucket=archive.bucket, Key=key, RestoreRequest={"Days": 1})
    assert archive.folder.backup() != archive.identifier


def test_waiting_ends_when_the_last_object_is_there_and_is_told(archive: Archive) -> None:
    archive.freeze()
    slept: list[float] = []
    heard: list[Advance] = []
    with looks_until_thawed(archive.server, 1):
        thawed = ensure_readable(
            archive.site.vault,
            archive.manifest.objects(),
            Thaw("standard", sleep=slept.append),
            listener=heard.append,
        )
        assert len(thawed) == len(archive.manifest.objects())
    assert slept
    assert set(slept) == {300.0}
    assert {step.phase for step in heard} == {"thaw"}
    assert sum(step.bytes for step in heard) == sum(one.size for one in thawed)
    assert any("5 hours after the request at most" in step.note for step in heard)


def test_an_interruption_loses_nothing_and_what_is_under_way_is_not_asked_for_twice(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.freeze()
    vault, objects = archive.site.vault, archive.manifest.objects()

    def press(_: float) -> None:
        raise KeyboardInterrupt

    with looks_until_thawed(archive.server, 1), pytest.raises(KeyboardInterrupt):
        ensure_readable(vault, objects, Thaw("bulk", sleep=press))
    with looks_until_thawed(archive.server, 1000):
        with pytest.raises(NotThawed, match="under way"):
            ensure_readable(vault, objects)
        monkeypatch.setattr(S3Thawing, "ask", lambda *_: pytest.fail("it is under way"))
        with pytest.raises(KeyboardInterrupt):
            ensure_readable(vault, objects, Thaw("bulk", sleep=press))


def test_a_tier_that_the_archive_does_not_have_is_refused(archive: Archive) -> None:
    archive.freeze("DEEP_ARCHIVE")
    with pytest.raises(ConfigError, match="no expedited") as caught:
        ensure_readable(archive.site.vault, archive.manifest.objects(), Thaw("expedited"))
    assert "--thaw standard" in caught.value.remedy


def test_many_objects_are_looked_up_by_a_listing(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.freeze()
    thawing = archive.site.vault.store.thawing()
    assert isinstance(thawing, S3Thawing)
    keys = [layout.object_key(one) for one in archive.manifest.objects()]
    one_by_one = thawing.look(keys)
    monkeypatch.setattr("backup_pipeline.stores.s3.thawing.LIST_ABOVE", 0)
    assert thawing.look(keys) == one_by_one
    assert thawing.look([keys[0]]) == one_by_one[:1]
    assert thawing.look(["objects/ff/nothing"]) == ()


def test_a_folder_has_no_archive(tmp_path: Path, shop: Folder) -> None:
    shop.backup()
    vault = Site.load(shop.path / "backup.yaml").vault
    assert vault.store.thawing() is None
    shop.good("restore", "shop", "--to", shop.restored, "--thaw", "bulk")


@pytest.mark.parametrize(
    ("head", "state", "archive"),
    [
        ({}, None, ""),
        ({"StorageClass": "GLACIER_IR"}, None, ""),
        ({"StorageClass": "INTELLIGENT_TIERING"}, None, ""),
        (
            {"StorageClass": "INTELLIGENT_TIERING", "ArchiveStatus": "ARCHIVE_ACCESS"},
            "frozen",
            "ARCHIVE_ACCESS",
        ),
        ({"StorageClass": "GLACIER"}, "frozen", "GLACIER"),
        ({"StorageClass": "GLACIER", "Restore": 'ongoing-request="true"'}, "thawing", "GLACIER"),
        (
            {
                "StorageClass": "DEEP_ARCHIVE",
                "Restore": 'ongoing-request="false", expiry-date="Sun, 22 Nov 2026 00:00:00 GMT"',
            },
            "thawed",
            "DEEP_ARCHIVE",
        ),
    ],
)
def test_the_answers_of_s3_are_understood(head: dict[str, str], state: str | None, archive: str) -> None:
    found = frozen_of("objects/x", {"ContentLength": 7, **head})
    if state is None:
        assert found is None
        return
    assert found is not None
    assert (found.state, found.archive, found.size) == (state, archive, 7)
    if state == "thawed":
        assert found.until == datetime(2026, 11, 22, tzinfo=UTC)


def test_a_thaw_that_would_end_during_the_restore_is_made_longer(archive: Archive) -> None:
    archive.freeze()
    vault, objects = archive.site.vault, archive.manifest.objects()
    ensure_readable(vault, objects, Thaw("standard", days=2))
    assert ensure_readable(vault, objects, Thaw("standard")) == ()
    soon = Thaw("standard", now=lambda: datetime.now(UTC) + timedelta(days=1, hours=12))
    assert {one.state for one in ensure_readable(vault, objects, soon)} == {"thawed"}


def test_the_times_are_those_that_aws_publishes() -> None:
    assert Frozen("k", 1, "GLACIER", "frozen").hours("standard") == 5
    assert Frozen("k", 1, "DEEP_ARCHIVE", "frozen").hours("bulk") == 48
    assert Frozen("k", 1, "DEEP_ARCHIVE", "frozen").hours("expedited") is None


def test_a_copy_in_an_archive_is_verified_as_far_as_it_can_be_read(frozen_copy: Archive) -> None:
    ended = frozen_copy.folder.good("verify", "shop", "--copy", "offsite", "--read", "100%", "--json")
    assert "objects-frozen" in {one["code"] for one in ended.data["report"]["findings"]}
    frozen_copy.folder.good("verify", "shop", "--copy", "offsite", "--read", "100%", "--thaw", "bulk")


def test_a_lost_vault_comes_back_from_an_archive(frozen_copy: Archive) -> None:
    shop = frozen_copy.folder
    shutil.rmtree(shop.path / "vault")
    again = ("copy", "--from", "offsite", "--to", "vault")
    ended = shop.run(*again)
    assert ended.code == 17
    assert "archive" in ended.stderr
    assert "--thaw" in ended.stderr
    shop.good(*again, "--thaw", "bulk")
    shop.good("verify", "shop", "all")


def test_a_backup_is_restored_straight_from_an_archive(frozen_copy: Archive) -> None:
    shop = frozen_copy.folder
    shutil.rmtree(shop.path / "vault")
    to = ("restore", "shop", "--from", "offsite", "--to", shop.restored)
    assert shop.run(*to, "--json").error["code"] == "not-thawed"
    shop.good(*to, "--thaw", "standard")


def test_ctrl_c_while_it_waits_says_that_the_request_stays(archive: Archive) -> None:
    archive.freeze()
    # The next look is five minutes away.
    with looks_until_thawed(archive.server, 1):
        process = subprocess.Popen(
            [*PROGRAM, "restore", "shop", "--to", archive.folder.restored, "--thaw", "bulk"],
            cwd=archive.folder.path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = ""
        assert process.stderr is not None
        while "waiting for the archive" not in line:
            line = process.stderr.readline()
            assert line, "it ended"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stays asked for" in said
    assert not (archive.folder.path / "restored.db").exists()
