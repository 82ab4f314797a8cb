"""A disk that does not give back what lies on it: said as that, and not as a defect of the program."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.stores import local
from backup_pipeline_tests.cli.conftest import CONFIG, Folder
from backup_pipeline_tests.harness.commands import PROGRAM, Ended, environment

#: Reading it is answered with EIO, by the kernel itself.
UNREADABLE = "/proc/self/mem"

READERS: tuple[tuple[str, ...], ...] = (
    ("restore", "shop", "--to", "sqlite:///again.db"),
    ("query", "shop", "latest", "select * from orders"),
    ("verify", "shop"),
    ("drill", "shop", "--no-record"),
    ("drill", "shop"),
)

#: Verbs that list or look at a whole place.
LOOKERS: tuple[tuple[str, ...], ...] = (
    ("list",),
    ("status",),
    ("doctor",),
    ("verify", "shop"),
    ("copy", "shop"),
    ("backup", "shop", "--no-record"),
)


@contextmanager
def dead_mount(folder: Path) -> Iterator[None]:
    """What a mount is whose server died: a FUSE file system that has no process behind it."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    made = libc.mount(b"dead", os.fsencode(folder), b"fuse", 0, options)
    os.close(device)
    if made:
        pytest.skip(f"cannot mount here: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        assert libc.umount2(os.fsencode(folder), 2) == 0


class _BadSector(io.FileIO):
    def readinto(self, buffer: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def readall(self) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def bad_sectors(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Every object below opens, has its length, and cannot be read. Says which were tried."""
    read: list[str] = []

    def opened(path: str, mode: str) -> Any:
        if folder in Path(path).parents:
            read.append(Path(path).name)
            return io.BufferedReader(_BadSector(path))
        return open(path, mode)  # noqa: PTH123

    monkeypatch.setattr(local, "open", opened, raising=False)
    return read


@pytest.fixture
def copied(shop: Folder) -> Folder:
    (shop.path / "backup.yaml").write_text("copies: {second: ./second}\n" + CONFIG % "sqlite:///shop.db")
    shop.backup()
    return shop


def told(ended: Ended) -> str:
    return ended.stdout + ended.stderr


def test_a_bad_sector_is_damage_and_withdraws_the_proof(
    copied: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied.good("drill", "shop", "--no-record")
    assert copied.good("list", "--json").data["backups"][0]["proven_at"]
    with monkeypatch.context() as patched:
        read = bad_sectors(patched, copied.path / "vault" / "objects")
        for verb in READERS:
            ended = copied.run(*verb)
            assert ended.code in (7, 10), (verb, str(ended))
            assert "Input/output error" in told(ended), (verb, str(ended))
            assert "repair shop` brings it back from second" in told(ended), (verb, str(ended))
        assert read
    assert copied.good("list", "--json").data["backups"][0]["proven_at"] is None
    status = copied.run("status")
    assert status.code == 13
    assert "drill-failed" in status.stdout
    # A later drill that ends well gives it back.
    copied.good("drill", "shop", "--no-record")
    assert copied.good("list", "--json").data["backups"][0]["proven_at"]


def test_without_a_copy_bad_sectors_are_set_aside_and_stored_anew(
    shop: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.backup()
    with monkeypatch.context() as patched:
        bad_sectors(patched, shop.path / "vault" / "objects")
        ended = shop.run("drill", "shop", "--no-record")
        assert "backup-pipeline repair shop --set-aside" in told(ended)
        aside = shop.run("repair", "shop", "--set-aside")
        assert "Traceback" not in told(aside)
        assert aside.code != 70
    shop.good("backup", "shop", "--full", "--no-record")
    shop.good("drill", "shop", "--no-record")


def test_a_manifest_on_a_bad_sector_is_named_and_healed(copied: Folder) -> None:
    (manifest,) = (copied.path / "vault" / "shop").glob("*/manifest.json")
    before = manifest.read_bytes()
    manifest.unlink()
    manifest.symlink_to(UNREADABLE)
    identifier = manifest.parent.name
    for verb in (("show", "shop", identifier), ("list",), ("status",), ("drill", "shop", "--no-record")):
        ended = copied.run(*verb)
        assert ended.code in (7, 13), (verb, str(ended))
        assert "cannot be read: " in told(ended)
        assert "Input/output error" in told(ended), (verb, str(ended))
        assert "repair shop` brings it back from second" in told(ended), (verb, str(ended))
    copied.good("repair", "shop")
    assert manifest.read_bytes() == before


def test_what_may_not_be_read_is_said_with_whose_right_is_missing(copied: Folder) -> None:
    """Root reads everything, unless it has laid down that right."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root cannot lay down its rights here")
    lay_down = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()

    def run(*arguments: str) -> Ended:
        done = subprocess.run(
            [*lay_down, *PROGRAM, *arguments],
            cwd=copied.path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    vault = copied.path / "vault"
    objects = [path for path in (vault / "objects").rglob("*") if path.is_file()]
    for hidden, verbs in (
        (objects, READERS[3:4]),
        ([vault / "shop"], (READERS[3], ("list",), ("doctor",))),
        ([vault], (READERS[3], *LOOKERS)),
    ):
        modes = [(path, path.stat().st_mode & 0o777) for path in hidden]
        for path, _ in modes:
            path.chmod(0)
        try:
            for verb in verbs:
                ended = run(*verb)
                assert ended.code != 70, (hidden[0], verb, str(ended))
                assert "Traceback" not in told(ended)
                if "drill" in verb:
                    assert ended.code == 5, (hidden[0], str(ended))
                    assert "Permission denied" in told(ended), (hidden[0], verb, str(ended))
                    assert "let a group of accounts read the vault" in told(ended)
                    assert "`--from second` reads the backups of a copy" in told(ended)
        finally:
            for path, mode in modes:
                path.chmod(mode)
        assert run("drill", "shop", "--no-record").code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.parametrize("place", ["vault", "second"])
def test_a_dead_mount_is_said_and_is_no_defect_of_ours(copied: Folder, place: str) -> None:
    with dead_mount(copied.path / place):
        for verb in LOOKERS:
            if place == "second" and verb[0] in ("list", "verify"):
                continue  # nothing of a copy is asked for
            ended = copied.run(*verb)
            assert ended.code in (5, 13, 14, 17), (verb, str(ended))
            assert "Transport endpoint is not connected" in told(ended), (verb, str(ended))
            assert "Traceback" not in told(ended), (verb, str(ended))
            assert "see whether the disk or the share is still mounted" in told(ended), (verb, str(ended))
    copied.good("verify", "shop")
