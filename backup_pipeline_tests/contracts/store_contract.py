"""What every store promises (`backup_pipeline/stores/base.py`). A new store subclasses this and offers `store`."""

from __future__ import annotations

import hashlib
import pickle
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backup_pipeline.errors import AlreadyExists, NotFound, VaultError
from backup_pipeline.stores.base import Stat, Store, read_all
from backup_pipeline.stores.checksums import Judgement

AWKWARD = (
    "a",
    "shop/2026-11-21T02-00-00-123Z/manifest.json",
    "objects/9f/" + "9f" * 32 + ".tsv.zst",
    "with blank/and+plus&amp=?#.json",
    "ünïcode/日本.bin",
)

#: Above what S3 and Dropbox take in one request from us.
LARGE = 20 * 1024 * 1024 + 12_345


class StoreContract:
    #: Whether it states a checksum of what it holds.
    attests = False

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        raise NotImplementedError("offer a fixture with an empty store")

    @pytest.mark.parametrize("key", AWKWARD)
    @pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 4096], ids=["empty", "one", "1MiB"])
    def test_what_was_put_is_what_is_got(self, store: Store, key: str, data: bytes) -> None:
        store.put(key, data)
        assert read_all(store, key) == data
        stat = store.stat(key)
        assert stat is not None
        assert (stat.key, stat.size) == (key, len(data))

    def test_a_staged_file_is_consumed(self, store: Store) -> None:
        path = store.staging() / "made-here"
        path.write_bytes(b"content")
        store.put("objects/x", path)
        assert read_all(store, "objects/x") == b"content"
        if store.features.moves_staged_files:
            assert not path.exists()

    def test_an_existing_key_is_never_changed_unasked(self, store: Store) -> None:
        store.put("k", b"first")
        with pytest.raises(AlreadyExists):
            store.put("k", b"second")
        assert read_all(store, "k") == b"first"
        store.put("k", b"third", overwrite=True)
        assert read_all(store, "k") == b"third"

    def test_of_racing_creates_one_wins(self, store: Store) -> None:
        if not store.creates_once():
            pytest.skip("this store cannot create conditionally")
        won: list[int] = []
        barrier = threading.Barrier(8)

        def create(number: int) -> None:
            barrier.wait()
            try:
                store.put("race", str(number).encode())
            except AlreadyExists:
                return
            won.append(number)

        threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert read_all(store, "race") == str(won[0]).encode()

    def test_a_large_file_arrives_whole(self, store: Store) -> None:
        """More than one request, one packet, one part."""
        data = random.Random(1).randbytes(LARGE)
        path = store.staging() / "large"
        path.write_bytes(data)
        store.put("objects/large", path)
        stat = store.stat("objects/large")
        assert stat is not None
        assert stat.size == LARGE
        digest = hashlib.sha256()
        with store.get("objects/large") as stream:
            while block := stream.read(300_000):
                assert len(block) <= 300_000
                digest.update(block)
        assert digest.digest() == hashlib.sha256(data).digest()
        with store.get("objects/large", offset=LARGE - 5_000_000, length=4_000_000) as stream:
            assert stream.read() == data[-5_000_000:-1_000_000]

    @pytest.mark.parametrize("size", [0, 1, 70_000, LARGE])
    def test_what_it_states_of_an_object_is_the_checksum_of_its_bytes(self, store: Store, size: int) -> None:
        data = random.Random(size).randbytes(size)
        path = store.staging() / "made-here"
        path.write_bytes(data)
        store.put("objects/x", path)
        (stat,) = store.list("objects/")
        looked = store.stat("objects/x")
        assert looked is not None
        for one in (stat, looked):
            assert _judged(store, one, data) == ("same" if self.attests else None)
        if self.attests and data:
            other = data[:-1] + bytes([data[-1] ^ 1])
            # A checksum of parts cannot be called wrong: the parts may have been others.
            assert _judged(store, stat, other) in (("other",) if size < LARGE else ("other", "unknown"))

    def test_a_file_that_was_refused_is_still_there(self, store: Store) -> None:
        store.put("k", b"first")
        path = store.staging() / "refused"
        path.write_bytes(b"second")
        with pytest.raises(AlreadyExists):
            store.put("k", path)
        assert path.read_bytes() == b"second"
        assert read_all(store, "k") == b"first"

    def test_the_same_content_again_is_refused_as_well(self, store: Store) -> None:
        store.put("k", b"same")
        with pytest.raises(AlreadyExists) as caught:
            store.put("k", b"same")
        assert caught.value.differs is not True

    def test_overwriting_with_less_leaves_nothing_of_what_was_there(self, store: Store) -> None:
        store.put("k", b"x" * 100_000)
        store.put("k", b"y", overwrite=True)
        assert read_all(store, "k") == b"y"

    def test_a_stream_that_is_left_early_leaves_nothing_open(self, store: Store) -> None:
        store.put("k", bytes(3_000_000))
        for _ in range(20):
            with store.get("k") as stream:
                assert stream.read(10) == bytes(10)
        assert len(read_all(store, "k")) == 3_000_000

    def test_many_readers_and_writers_do_not_disturb_each_other(self, store: Store) -> None:
        def work(number: int) -> bool:
            data = random.Random(number).randbytes(50_000)
            store.put(f"objects/{number}", data)
            return read_all(store, f"objects/{number}") == data

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(24)))
        assert len(list(store.list("objects/"))) == 24

    def test_a_range_is_just_that_range(self, store: Store) -> None:
        store.put("k", b"0123456789")
        for offset, length, expected in [(0, 3, b"012"), (4, None, b"456789"), (8, 50, b"89"), (10, 5, b"")]:
            with store.get("k", offset=offset, length=length) as stream:
                assert stream.read() == expected

    def test_what_is_not_there_is_said_so(self, store: Store) -> None:
        assert store.stat("nothing") is None
        assert store.stat("nothing/at/all") is None
        with pytest.raises(NotFound), store.get("nothing"):
            pass

    def test_a_folder_is_not_a_key(self, store: Store) -> None:
        store.put("folder/file", b"x")
        with pytest.raises(NotFound), store.get("folder"):
            pass

    def test_list_names_what_starts_with_the_prefix_and_nothing_else(self, store: Store) -> None:
        keys = {"shop/1/manifest.json", "shop/2/manifest.json", "shopping/1/manifest.json", "objects/ab/cd"}
        for key in keys:
            store.put(key, b"x")
        (store.staging() / "unfinished").write_bytes(b"x")
        assert {stat.key for stat in store.list()} == keys
        assert {stat.key for stat in store.list("shop/")} == {k for k in keys if k.startswith("shop/")}
        assert {stat.key for stat in store.list("shop")} == {k for k in keys if k.startswith("shop")}
        assert {stat.key for stat in store.list("shop/1")} == {"shop/1/manifest.json"}
        assert list(store.list("nowhere/")) == []

    def test_folders_are_the_next_part_of_the_keys_below(self, store: Store) -> None:
        for key in ("shop/1/manifest.json", "shop/1/proofs/x", "shop/2/y", "shop/lock.json", "vault.json"):
            store.put(key, b"x")
        (store.staging() / "unfinished").write_bytes(b"x")
        assert sorted(store.folders()) == ["shop"]
        assert sorted(store.folders("shop/")) == ["1", "2"]
        assert list(store.folders("nowhere/")) == []

    def test_deleting_twice_is_deleting_once(self, store: Store) -> None:
        store.put("k", b"x")
        store.delete("k")
        store.delete("k")
        assert store.stat("k") is None
        store.put("k", b"again")
        assert read_all(store, "k") == b"again"

    def test_advice_finds_nothing_wrong_with_it_and_leaves_nothing_behind(self, store: Store) -> None:
        assert [finding.message for finding in store.advice() if finding.severity == "error"] == []
        assert list(store.list()) == []

    @pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a\\b", "a\0b"])
    def test_no_key_points_out_of_the_store(self, store: Store, key: str) -> None:
        with pytest.raises(VaultError):
            store.put(key, b"x")
        with pytest.raises(VaultError), store.get(key):
            pass

    def test_a_store_without_a_capability_says_so(self, store: Store) -> None:
        """What is declared works; nothing is declared by default."""
        assert store.features.resumes <= {"get", "list", "folders"}
        assert (store.folder is None) or store.folder.is_absolute()
        room, locks, thawing = store.room(), store.object_locks(), store.thawing()
        assert room is None or 0 <= room.free <= room.total
        assert locks is None or locks.days > 0
        assert thawing is None or thawing.look(["nothing"]) == ()

    def test_a_store_can_be_sent_to_another_process(self, store: Store) -> None:
        store.put("k", b"x")
        again: Store = pickle.loads(pickle.dumps(store))
        assert read_all(again, "k") == b"x"


def _judged(store: Store, stat: Stat, data: bytes) -> Judgement | None:
    said = store.attest(stat, hashlib.sha256(data).hexdigest())
    if said is None:
        return None
    for start in range(0, len(data) if said.needs_bytes else 0, 300_000):
        said.update(data[start : start + 300_000])
    return said.judge()
