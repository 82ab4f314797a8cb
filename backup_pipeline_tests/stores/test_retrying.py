"""Another try where one may help: how often, how long in between, and what goes on instead of beginning anew."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pytest

from backup_pipeline.errors import AlreadyExists, NotFound, StoreUnavailable, VaultError
from backup_pipeline.processes import interruption, waiting
from backup_pipeline.stores.base import Stat, read_all
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.stores.retrying import Patience, RetryingStore
from backup_pipeline_tests.contracts.store_contract import StoreContract


class TestAroundAFolder(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> RetryingStore:
        return RetryingStore(LocalStore(tmp_path / "store"))


@dataclass(frozen=True)
class Flaky(LocalStore):
    """A folder that fails as it is told, before or after it has done what it was asked to."""

    before: list[Exception] = field(default_factory=list)
    after: list[Exception] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    #: Streams break after so many bytes, as often as this says.
    breaks: list[int] = field(default_factory=list)

    def _do(self, what: str) -> None:
        self.asked.append(what)
        if self.before:
            raise self.before.pop(0)

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        self._do(f"put {key}")
        super().put(key, data, overwrite=overwrite)
        if self.after:
            raise self.after.pop(0)

    @contextmanager
    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[BinaryIO]:
        self._do(f"get {key} from {offset}")
        with super().get(key, offset=offset, length=length) as stream:
            yield _Breaking(stream, self.breaks.pop(0)) if self.breaks else stream  # type: ignore[misc]

    def stat(self, key: str) -> Stat | None:
        self._do(f"stat {key}")
        return super().stat(key)

    def creates_once(self) -> bool:
        self._do("creates once")
        return super().creates_once()

    def list(self, prefix: str = "") -> Iterator[Stat]:
        for number, stat in enumerate(super().list(prefix)):
            if number == 2 and self.before:
                raise self.before.pop(0)
            yield stat


class _Breaking:
    def __init__(self, stream: BinaryIO, left: int) -> None:
        self._stream, self._left = stream, left

    def read(self, size: int = -1) -> bytes:
        if self._left <= 0:
            raise StoreUnavailable("the connection was reset")
        data = self._stream.read(min(size, self._left) if size >= 0 else self._left)
        self._left -= len(data)
        return data


def away(retry_after: float | None = None, *, progressed: bool = False) -> StoreUnavailable:
    error = StoreUnavailable("503 SlowDown")
    error.retry_after, error.progressed = retry_after, progressed
    return error


@pytest.fixture
def waited() -> list[float]:
    return []


Make = Callable[..., tuple[RetryingStore, Flaky]]


@pytest.fixture
def make(tmp_path: Path, waited: list[float]) -> Make:
    def made(**plan: object) -> tuple[RetryingStore, Flaky]:
        flaky = Flaky(tmp_path / "store", **plan)  # type: ignore[arg-type]
        # The longest pause that chance could have chosen.
        return RetryingStore(flaky, Patience(sleep=waited.append, random=lambda _low, high: high)), flaky

    return made


def test_a_store_that_comes_back_is_waited_for_longer_each_time(make: Make, waited: list[float]) -> None:
    store, flaky = make(before=[away() for _ in range(5)])
    store.put("k", b"x")
    assert waited == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert flaky.asked == ["put k"] * 6


def test_the_question_for_conditional_creates_is_asked_again(make: Make, waited: list[float]) -> None:
    store, folder = make(before=[StoreUnavailable("no route")])
    assert store.creates_once()
    assert folder.asked == ["creates once"] * 2
    assert len(waited) == 1


def test_pauses_are_random_up_to_their_full_length_and_end_growing(tmp_path: Path) -> None:
    asked: list[tuple[float, float]] = []

    def chance(low: float, high: float) -> float:
        asked.append((low, high))
        return low

    flaky = Flaky(tmp_path, before=[away() for _ in range(9)])
    RetryingStore(flaky, Patience(attempts=10, sleep=lambda _: None, random=chance)).stat("k")
    assert asked == [(0.0, high) for high in (0.5, 1, 2, 4, 8, 16, 30, 30, 30)]


def test_a_store_that_stays_away_is_given_up_with_what_was_tried(make: Make, waited: list[float]) -> None:
    store, flaky = make(before=[away() for _ in range(20)])
    with pytest.raises(StoreUnavailable, match="tried 6 times") as caught:
        store.stat("k")
    assert caught.value.remedy
    assert (len(flaky.asked), len(waited)) == (6, 5)


def test_a_server_that_says_how_long_to_wait_is_believed(make: Make, waited: list[float]) -> None:
    store, _ = make(before=[away(17.0), away()])
    store.stat("k")
    assert waited == [17.5, 1.0]


def test_a_server_that_wants_to_be_left_alone_for_long_is_not_waited_for(
    make: Make, waited: list[float]
) -> None:
    store, _ = make(before=[away(3600.0)])
    with pytest.raises(StoreUnavailable, match="3600 s"):
        store.stat("k")
    assert waited == []


@pytest.mark.parametrize("error", [VaultError("AccessDenied", remedy="ask"), NotFound("gone")])
def test_what_no_second_try_can_help_is_raised_at_once(
    error: VaultError, make: Make, waited: list[float]
) -> None:
    store, flaky = make(before=[error])
    with pytest.raises(type(error)) as caught:
        store.put("k", b"x")
    assert caught.value is error
    assert (flaky.asked, waited) == (["put k"], [])


def test_tries_that_come_further_each_time_are_no_repetition(make: Make, waited: list[float]) -> None:
    store, _ = make(before=[away(progressed=True) for _ in range(40)])
    store.put("k", b"x")
    assert waited == [0.5] * 40


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_a_put_whose_answer_was_lost_is_found_done(kind: str, make: Make, tmp_path: Path) -> None:
    data: bytes | Path = b"x" * 3_000_000
    if kind == "file":
        data = tmp_path / "file"
        data.write_bytes(b"x" * 3_000_000)
        (tmp_path / "kept").write_bytes(b"x" * 3_000_000)
        store, flaky = make()
        flaky.put("k", tmp_path / "kept")
        flaky.before.append(away())
    else:
        store, flaky = make(after=[away()])
    store.put("k", data)
    assert len(read_all(flaky, "k")) == 3_000_000


def test_another_writers_bytes_are_not_taken_for_our_own(make: Make) -> None:
    store, flaky = make()
    flaky.put("k", b"theirs")
    flaky.before.append(away())
    with pytest.raises(AlreadyExists):
        store.put("k", b"mine!!")
    assert read_all(flaky, "k") == b"theirs"


def test_bytes_that_were_there_before_we_began_are_no_success_of_ours(make: Make) -> None:
    store, _ = make()
    store.put("k", b"same")
    with pytest.raises(AlreadyExists):
        store.put("k", b"same")


def test_a_stream_that_breaks_goes_on_from_where_it_was(make: Make) -> None:
    data = bytes(range(256)) * 20_000
    store, flaky = make(breaks=[100_000, 1, 2_000_000])
    store.put("k", data)
    assert read_all(store, "k") == data
    assert flaky.asked[1:] == [f"get k from {n}" for n in (0, 100_000, 100_001, 2_100_001)]


def test_a_range_that_breaks_ends_where_it_should(make: Make) -> None:
    store, _ = make(breaks=[10])
    store.put("k", b"0123456789" * 10)
    with store.get("k", offset=5, length=20) as stream:
        assert stream.read() == b"56789012345678901234"


def test_a_stream_that_never_comes_further_is_given_up(make: Make) -> None:
    store, _ = make(breaks=[0] * 20)
    store.put("k", b"x" * 100)
    with pytest.raises(StoreUnavailable, match="tried"):
        read_all(store, "k")


def test_what_was_deleted_while_it_was_read_is_no_end_of_file(make: Make) -> None:
    store, flaky = make(breaks=[10])
    store.put("k", b"x" * 100)
    with store.get("k") as stream:
        assert len(stream.read(10)) == 10
        flaky.delete("k")
        with pytest.raises(VaultError, match="gone while it was read"):
            stream.read(10)


def test_a_listing_that_breaks_names_nothing_twice_and_leaves_nothing_out(make: Make) -> None:
    store, flaky = make()
    for number in range(5):
        store.put(f"k{number}", b"x")
    flaky.before.append(away())
    assert [stat.key for stat in store.list()] == [f"k{number}" for number in range(5)]


def test_it_can_be_sent_to_another_process(tmp_path: Path) -> None:
    store = pickle.loads(pickle.dumps(RetryingStore(LocalStore(tmp_path), Patience(attempts=9))))
    assert (store.patience.attempts, store.store.root) == (9, tmp_path)


# ── with time


@dataclass
class Night:
    """A clock that moves by pauses alone, and a store that is away for so many seconds of it."""

    away_for: float
    now: float = 0.0
    told: list[str] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def store(self, folder: Path, **more: float) -> RetryingStore:
        patience = Patience(
            sleep=self.sleep, clock=lambda: self.now, random=lambda low, high: high / 2, **more
        )  # type: ignore[arg-type]
        return RetryingStore(Away(folder, night=self), patience)


@dataclass(frozen=True)
class Away(LocalStore):
    night: Night | None = None

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        assert self.night is not None
        if self.night.now < self.night.away_for:
            raise StoreUnavailable("the store is away")
        super().put(key, data, overwrite=overwrite)


def test_work_waits_for_a_store_that_is_started_again_and_says_so(tmp_path: Path) -> None:
    night = Night(away_for=110.0)
    with waiting.having_time(night.told.append, clock=lambda: night.now):
        night.store(tmp_path / "store").put("k", b"x")
    assert 110.0 <= night.now < 150.0
    assert 3 <= len(night.told) <= 110 / waiting.PAUSE + 1
    assert "the store is away: waiting for it" in night.told[0]


@pytest.mark.parametrize(("more", "least", "most"), [({}, 120.0, 151.0), ({"least": 1.0}, 7.0, 8.0)])
def test_work_gives_up_in_the_end(tmp_path: Path, more: dict[str, float], least: float, most: float) -> None:
    """Six tries are made however short the patience is."""
    night = Night(away_for=3600.0)
    with (
        waiting.having_time(night.told.append, clock=lambda: night.now),
        pytest.raises(StoreUnavailable, match=r"times in \d+ s"),
    ):
        night.store(tmp_path / "store", **more).put("k", b"x")
    assert least <= night.now <= most


def test_a_person_who_waits_for_an_answer_gets_it_soon(tmp_path: Path) -> None:
    night = Night(away_for=110.0)
    with pytest.raises(StoreUnavailable, match="tried 6 times"):
        night.store(tmp_path / "store").put("k", b"x")
    assert night.now < 16.0
    with waiting.having_time(night.told.append), waiting.briefly(), pytest.raises(StoreUnavailable):
        night.store(tmp_path / "store").put("k", b"x")
    assert night.now < 32.0
    with waiting.having_time(night.told.append), pytest.raises(StoreUnavailable, match="tried 1 times"):
        night.store(tmp_path / "store", attempts=1).put("k", b"x")
    assert night.told == []


def test_ctrl_c_ends_the_pauses_of_every_thread(tmp_path: Path) -> None:
    """A program ends when its threads have ended, and each of them may be waiting for a store."""
    asked = threading.Event()

    class Gone(LocalStore):
        def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
            asked.set()
            raise StoreUnavailable("the store is away")

    hours = Patience(attempts=3, first=3600.0, longest=3600.0, random=lambda low, high: high)
    failed: list[StoreUnavailable] = []

    def work() -> None:
        try:
            RetryingStore(Gone(tmp_path / "store"), hours).put("k", b"x")
        except StoreUnavailable as error:
            failed.append(error)

    with waiting.having_time(lambda _: None):
        thread = threading.Thread(target=work)
        thread.start()
        assert asked.wait(60)
        interruption.cancel_all()
        thread.join()
    assert len(failed) == 1
