"""The SFTP store against real servers: OpenSSH's, and rclone's, which lacks hard links and insists on order."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from backup_pipeline.errors import AlreadyExists, StoreUnavailable, VaultError
from backup_pipeline.health.storage import measure
from backup_pipeline.processes.birth import born
from backup_pipeline.stores.base import Store, read_all
from backup_pipeline.stores.opening import open_store
from backup_pipeline.stores.rate_limit import Pace
from backup_pipeline.stores.retrying import Patience, RetryingStore
from backup_pipeline.stores.sftp.session import Session, reactor
from backup_pipeline.stores.sftp.store import SftpStore
from backup_pipeline.stores.sftp.upload import Upload
from backup_pipeline.stores.staging import maker, staging_name
from backup_pipeline_tests.contracts.store_contract import StoreContract
from backup_pipeline_tests.harness.sftp_server import SftpServer


class TestOpenSsh(StoreContract):
    @pytest.fixture
    def store(self, openssh: SftpServer, tmp_path: Path) -> SftpStore:
        return SftpStore(openssh.options(openssh.fresh(), tmp_path / "staging"))

    def test_it_creates_conditionally(self, store: Store) -> None:
        assert store.creates_once()


class TestRclone(StoreContract):
    @pytest.fixture
    def store(self, rclone_sftp: SftpServer, tmp_path: Path) -> SftpStore:
        return SftpStore(rclone_sftp.options(rclone_sftp.fresh(), tmp_path / "staging"))

    def test_it_does_not_claim_to_create_conditionally(self, store: Store) -> None:
        assert not store.creates_once()


class TestProftpd(StoreContract):
    @pytest.fixture
    def store(self, proftpd: SftpServer, tmp_path: Path) -> SftpStore:
        return SftpStore(proftpd.options(proftpd.fresh(), tmp_path / "staging"))

    def test_it_creates_conditionally(self, store: Store) -> None:
        assert store.creates_once()


class TestWholeFiles(StoreContract):
    @pytest.fixture
    def store(self, whole_files_sftp: SftpServer, tmp_path: Path) -> SftpStore:
        return SftpStore(whole_files_sftp.options(whole_files_sftp.fresh(), tmp_path / "staging"))

    def test_it_does_not_claim_to_create_conditionally(self, store: Store) -> None:
        assert not store.creates_once()


# ── broken connections

#: Big enough to be continued, and slow enough to be cut while it is on its way, by a machine that is busy.
BIG = os.urandom(1 << 20) * 24
RATE = 8 << 20


def partials(folder: Path) -> list[Path]:
    return [path for path in (folder / "tmp").glob("*~*~*~*") if path.is_file()]


def cut_when_half(server: SftpServer, folder: Path) -> threading.Thread:
    def wait() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                if any(path.stat().st_size >= len(BIG) // 2 for path in partials(folder)):
                    break
            time.sleep(0.005)
        server.cut()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    path.write_bytes(BIG)
    return path


def test_an_upload_that_broke_off_is_listed_nowhere_and_continued(
    openssh: SftpServer, tmp_path: Path, big: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = openssh.fresh()
    store = SftpStore(openssh.options(folder, tmp_path / "staging", max_rate=RATE))
    cutter = cut_when_half(openssh, folder)
    with pytest.raises(StoreUnavailable):
        store.put("objects/big", big)
    cutter.join()
    gc.collect()
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []
    assert list(store.list()) == []
    assert store.stat("objects/big") is None
    (part,) = partials(folder)
    node, arrived = part.stat().st_ino, part.stat().st_size
    assert 0 < arrived < len(BIG)
    # What arrived out of order, or wrong, is not built upon.
    with part.open("r+b") as file:
        file.seek(arrived - 1000)
        file.write(b"wrong" * 20)
    store.put("objects/big", big)
    assert (folder / "objects/big").stat().st_ino == node
    assert read_all(store, "objects/big") == BIG
    assert list((folder / "tmp").iterdir()) == []


def test_a_retried_upload_and_download_survive_cuts(openssh: SftpServer, tmp_path: Path, big: Path) -> None:
    folder = openssh.fresh()
    store = open_store(openssh.options(folder, tmp_path / "staging", max_rate=RATE))
    cutter = cut_when_half(openssh, folder)
    store.put("objects/big", big)
    cutter.join()
    with store.get("objects/big") as stream:
        first = stream.read(5 << 20)
        assert openssh.cut() > 0
        assert first + stream.read() == BIG


def test_a_download_that_breaks_off_is_an_error_and_no_short_file(
    openssh: SftpServer, tmp_path: Path, big: Path
) -> None:
    store = SftpStore(openssh.options(openssh.fresh(), tmp_path / "staging"))
    store.put("objects/big", big)
    with store.get("objects/big") as stream:
        stream.read(1)
        openssh.cut()
        with pytest.raises(StoreUnavailable):
            stream.read()


def test_a_server_that_was_restarted_is_found_again(openssh: SftpServer, tmp_path: Path) -> None:
    store = SftpStore(openssh.options(openssh.fresh(), tmp_path / "staging"))
    store.put("k", b"x")
    openssh.stop()
    try:
        with pytest.raises(StoreUnavailable):
            store.stat("k")
    finally:
        openssh.start()
    assert read_all(store, "k") == b"x"


def test_a_server_whose_sftp_dies_and_whose_ssh_lives_is_connected_to_anew(
    openssh: SftpServer, tmp_path: Path
) -> None:
    openssh.cut()
    store = SftpStore(openssh.options(openssh.fresh(), tmp_path / "staging"))
    store.put("k", b"x")
    connection = reactor().sessions[store.options].connection
    # The youngest, which need not be the one with the highest number: numbers begin anew.
    os.kill(max(openssh.sessions(), key=lambda pid: (int(born(pid)), pid)), signal.SIGKILL)
    time.sleep(0.2)
    assert not connection.is_closed(), "only the SFTP was to die"
    with pytest.raises(StoreUnavailable):
        store.put("l", b"y")
    store.put("l", b"y")
    assert read_all(store, "k") == b"x"


def test_what_a_killed_process_was_sending_is_continued_by_the_next_or_swept(
    openssh: SftpServer, tmp_path: Path, big: Path
) -> None:
    folder = openssh.fresh()
    options = openssh.options(folder, tmp_path / "staging", max_rate=RATE)
    code = (
        "import pickle, sys; from pathlib import Path; from backup_pipeline.stores.opening import open_store; "
        "open_store(pickle.loads(sys.stdin.buffer.read())).put('objects/big', Path(sys.argv[1]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(big)], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(options))
    process.stdin.close()
    while not any(path.stat().st_size >= len(BIG) // 3 for path in partials(folder)):
        time.sleep(0.01)
    process.kill()
    process.wait()
    (part,) = partials(folder)
    node = part.stat().st_ino
    # A small one of a dead process is abandoned; one of another machine is not ours to judge.
    maker, _, _, mark = part.name.split("~")
    (folder / "tmp" / f"{maker}~{process.pid}~aa").write_bytes(b"half")
    (folder / "tmp" / f"elsewhere~{process.pid}~bb").write_bytes(b"half")
    old = folder / "tmp" / f"{maker}~{process.pid}~cc~{mark}"
    old.write_bytes(b"half")
    os.utime(old, (1, 1))
    store = SftpStore(options)
    assert store.sweep() == 2
    store.put("objects/big", big)
    assert (folder / "objects/big").stat().st_ino == node
    assert read_all(store, "objects/big") == BIG


def test_a_server_that_writes_whole_files_only_loses_no_run_after_a_kill(
    whole_files_sftp: SftpServer, tmp_path: Path, big: Path
) -> None:
    """Going on where a killed process stopped was refused, and with it the run."""
    folder = whole_files_sftp.fresh()
    store = SftpStore(whole_files_sftp.options(folder, tmp_path / "staging"))
    store.put("objects/before", b"x")
    with subprocess.Popen(["true"]) as dead:
        pass
    mark = hashlib.sha256(f"objects/big\0{len(BIG)}".encode()).hexdigest()[:24]
    (folder / "tmp" / f"{maker()}~{dead.pid}~aa~{mark}").write_bytes(BIG[: len(BIG) // 2])
    store.put("objects/big", big)
    assert read_all(store, "objects/big") == BIG
    assert list((folder / "tmp").iterdir()) == []


def test_the_doctor_hears_of_a_key_that_others_can_read(openssh: SftpServer, tmp_path: Path) -> None:
    key = tmp_path / "key"
    shutil.copy(openssh.key_file, key)
    store = open_store(openssh.options(openssh.fresh(), tmp_path / "staging", key_file=key))
    key.chmod(0o600)
    codes = [finding.code for finding in store.advice()]
    assert "key-file-open" not in codes
    key.chmod(0o640)
    codes = [finding.code for finding in store.advice()]
    assert "key-file-open" in codes


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk_on_the_server_is_said_and_leaves_nothing(openssh: SftpServer, tmp_path: Path) -> None:
    folder = openssh.fresh()
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        store = SftpStore(openssh.options(folder, tmp_path / "staging"))
        store.put("small", b"x")
        with pytest.raises(VaultError, match="disk is full") as caught:
            store.put("objects/big", BIG)
        assert not isinstance(caught.value, StoreUnavailable)
        assert "free space" in caught.value.remedy
        assert {stat.key for stat in store.list()} == {"small"}
        assert list((folder / "tmp").iterdir()) == []
        (folder / "filler").write_bytes(bytes(2 << 20)[: 2 * 1024 * 1000])
        sample = measure(store, datetime.now(UTC))
        assert sample.total == 2 << 20
        assert sample.free is not None
        assert sample.free < 100_000
        assert "store-nearly-full" in [finding.code for finding in store.advice()]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("known", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_server_that_insists_on_order_gets_a_big_file_all_the_same(
    rclone_sftp: SftpServer, tmp_path: Path, known: bool
) -> None:
    store = SftpStore(rclone_sftp.options(rclone_sftp.fresh(), tmp_path / "staging"))
    assert not store.creates_once()
    session = reactor().sessions[store.options]
    assert session.in_order
    session.in_order = known
    store.put("objects/big", BIG[: 10 << 20])
    assert session.in_order
    assert read_all(store, "objects/big") == BIG[: 10 << 20]


def test_a_part_that_has_its_name_already_is_never_written_to(openssh: SftpServer, tmp_path: Path) -> None:
    """The line was cut between the link and the removal of the temporary name: both are one file."""
    folder = openssh.fresh()
    store = SftpStore(openssh.options(folder, tmp_path / "staging"))
    store.put("big", BIG)
    other = bytes(len(BIG))
    upload = Upload(Session(None, None), "", "", "big", other, True, Pace())  # type: ignore[arg-type]
    (folder / "tmp" / f"{staging_name()}~{upload.mark}").hardlink_to(folder / "big")
    with (folder / "big").open("rb") as reader:
        store.put("big", other, overwrite=True)
        assert reader.read() == BIG
    assert read_all(store, "big") == other
    assert list((folder / "tmp").iterdir()) == []


# ── what is kept, and how


def test_what_is_stored_is_read_only_and_leaves_nothing_beside_it(
    openssh: SftpServer, tmp_path: Path
) -> None:
    folder = openssh.fresh()
    store = SftpStore(openssh.options(folder, tmp_path / "staging"))
    store.put("objects/x", b"x")
    store.put("objects/x", b"y", overwrite=True)
    with pytest.raises(AlreadyExists):
        store.put("objects/x", b"z")
    assert (folder / "objects/x").stat().st_mode & 0o777 == 0o400
    assert list((folder / "tmp").iterdir()) == []


def test_a_folder_that_was_deleted_under_our_hands_is_made_again(openssh: SftpServer, tmp_path: Path) -> None:
    folder = openssh.fresh()
    store = SftpStore(openssh.options(folder, tmp_path / "staging"))
    store.put("a/b", b"x")
    shutil.rmtree(folder)
    store.put("a/b", b"again")
    assert read_all(store, "a/b") == b"again"


def test_a_link_to_a_file_is_the_file_and_one_to_a_folder_is_not_followed(
    openssh: SftpServer, tmp_path: Path
) -> None:
    folder = openssh.fresh()
    store = SftpStore(openssh.options(folder, tmp_path / "staging"))
    store.put("real/x", b"x")
    (folder / "real/link").symlink_to("x")
    (folder / "round").symlink_to(".")
    (folder / "real/dangling").symlink_to("nowhere")
    assert {stat.key for stat in store.list()} == {"real/x", "real/link"}


def test_the_rate_is_kept(openssh: SftpServer, tmp_path: Path) -> None:
    store = SftpStore(openssh.options(openssh.fresh(), tmp_path / "staging", max_rate=1 << 20))
    began = time.monotonic()
    store.put("x", bytes(2 << 20))
    assert time.monotonic() - began > 1.2


# ── many at once


def test_a_reader_leaves_nothing_in_the_vault(openssh: SftpServer, tmp_path: Path) -> None:
    folder = openssh.fresh()
    (folder / "objects").mkdir(parents=True)
    (folder / "objects/x").write_bytes(b"x")
    store = SftpStore(openssh.options(folder, tmp_path / "staging"))
    assert not store.features.cheap_stat
    assert read_all(store, "objects/x") == b"x"
    assert [stat.key for stat in store.list()] == ["objects/x"]
    assert [path.name for path in folder.iterdir()] == ["objects"]


def test_threads_share_a_connection(openssh: SftpServer, tmp_path: Path) -> None:
    store = SftpStore(openssh.options(openssh.fresh(), tmp_path / "staging"))

    def there_and_back(number: int) -> bool:
        data = bytes([number]) * (number * 50_000)
        store.put(f"objects/{number:02}/x", data)
        return read_all(store, f"objects/{number:02}/x") == data

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(40)))
    assert len(list(store.list("objects/"))) == 40


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 7))])
def test_at_every_cut_nothing_half_written_has_a_name(openssh: SftpServer, tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    folder = openssh.fresh()
    impatient = Patience(attempts=10, first=0.02, longest=0.2)
    store = RetryingStore(SftpStore(openssh.options(folder, tmp_path / "staging")), impatient)
    contents = {
        f"objects/{n:02}": random.randbytes(random.choice([0, 10, 300_000, 9 << 20])) for n in range(12)
    }
    done = threading.Event()

    def cut() -> None:
        # With growing pauses: however slow the machine is, the work gets on.
        longest = 0.4
        while not done.wait(random.uniform(0.1, longest)):
            openssh.cut()
            longest += 0.2

    cutter = threading.Thread(target=cut)
    cutter.start()
    failed = set()
    try:
        for key, data in contents.items():
            try:
                store.put(key, data)
            except StoreUnavailable:
                failed.add(key)
            for found in store.list():
                assert found.size == len(contents[found.key])
    finally:
        done.set()
        cutter.join()
    for key in failed:
        with contextlib.suppress(AlreadyExists):
            store.put(key, contents[key])
    assert {stat.key: read_all(store, stat.key) for stat in store.list()} == contents
