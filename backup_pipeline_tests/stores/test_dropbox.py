"""The Dropbox store: the real SDK against a server that speaks Dropbox's protocol and refuses what it refuses."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from backup_pipeline.errors import AlreadyExists, ConfigError, StoreUnavailable, VaultError
from backup_pipeline.stores.base import Room, read_all
from backup_pipeline.stores.dropbox.store import DropboxStore
from backup_pipeline.stores.dropbox.upload import NOTE_SUFFIX, PIECE
from backup_pipeline.stores.options import StoreOptions
from backup_pipeline.stores.retrying import Patience, RetryingStore
from backup_pipeline_tests.contracts.store_contract import StoreContract
from backup_pipeline_tests.harness.fake_dropbox import HOME, SCOPES, FakeDropbox
from backup_pipeline_tests.harness.fake_dropbox_files import LARGEST_REQUEST, Namespace

BIG = os.urandom(3 * PIECE + 12345)


def options(fake: FakeDropbox, folder: Path, **more: Any) -> StoreOptions:
    given: dict[str, Any] = {"token": fake.token, **more}
    return StoreOptions("dropbox:///DATABASE-BACKUPS", folder / "staging", **given)


@pytest.fixture
def store(fake_dropbox: FakeDropbox, tmp_path: Path) -> DropboxStore:
    return DropboxStore(options(fake_dropbox, tmp_path))


def patient(store: DropboxStore, waited: list[float] | None = None) -> RetryingStore:
    pauses = [] if waited is None else waited
    return RetryingStore(store, Patience(sleep=pauses.append, random=lambda _low, _high: 0.0))


class TestDropbox(StoreContract):
    attests = True

    @pytest.fixture
    def store(self, fake_dropbox: FakeDropbox, tmp_path: Path) -> DropboxStore:
        return DropboxStore(options(fake_dropbox, tmp_path))


# ── big files


def test_a_big_file_goes_in_pieces_and_leaves_no_note(store: DropboxStore, fake_dropbox: FakeDropbox) -> None:
    store.put("objects/big", BIG)
    assert read_all(store, "objects/big") == BIG
    appended = [one.size for one in fake_dropbox.seen if one.route.endswith("append_v2")]
    assert appended == [PIECE, PIECE, PIECE, 12345]
    assert "files/upload" not in fake_dropbox.routes()
    assert list(store.staging().iterdir()) == []
    fake_dropbox.seen.clear()
    with pytest.raises(AlreadyExists):
        store.put("objects/big", BIG)
    assert fake_dropbox.routes() == ["files/get_metadata"], "nothing is sent for nothing"


def test_an_upload_that_broke_off_goes_on_in_another_process(
    store: DropboxStore, fake_dropbox: FakeDropbox
) -> None:
    fake_dropbox.plan("drop", "files/upload_session/append_v2", after=2)
    with pytest.raises(StoreUnavailable) as caught:
        store.put("objects/big", BIG)
    assert caught.value.progressed
    assert list(store.list()) == []
    fake_dropbox.seen.clear()
    again: DropboxStore = pickle.loads(pickle.dumps(store))
    again.put("objects/big", BIG)
    assert read_all(store, "objects/big") == BIG
    assert fake_dropbox.routes().count("files/upload_session/append_v2") == 2
    assert "files/upload_session/start" not in fake_dropbox.routes()


@pytest.mark.parametrize("lost", ["start", "append_v2", "finish"])
def test_an_answer_that_is_lost_costs_no_byte_and_no_error(
    store: DropboxStore, fake_dropbox: FakeDropbox, lost: str
) -> None:
    fake_dropbox.plan("lost", f"files/upload_session/{lost}")
    patient(store).put("objects/big", BIG)
    assert read_all(store, "objects/big") == BIG
    assert sum(one.size for one in fake_dropbox.seen if "session" in one.route) <= len(BIG) + PIECE


def test_a_session_that_dropbox_forgot_is_begun_anew(store: DropboxStore, fake_dropbox: FakeDropbox) -> None:
    fake_dropbox.plan("503", "files/upload_session/append_v2", after=1)
    with pytest.raises(StoreUnavailable):
        store.put("objects/big", BIG)
    fake_dropbox.home.sessions.clear()
    store.put("objects/big", BIG)
    assert read_all(store, "objects/big") == BIG


def test_two_that_send_different_bytes_share_no_session(
    store: DropboxStore, fake_dropbox: FakeDropbox
) -> None:
    fake_dropbox.plan("503", "files/upload_session/append_v2", after=1)
    with pytest.raises(StoreUnavailable):
        store.put("objects/big", BIG)
    other = bytes(reversed(BIG))
    store.put("objects/big", other)
    assert read_all(store, "objects/big") == other


def test_an_old_note_is_swept_and_a_damaged_one_counts_as_none(
    store: DropboxStore, fake_dropbox: FakeDropbox
) -> None:
    fake_dropbox.plan("503", "files/upload_session/append_v2", after=1)
    with pytest.raises(StoreUnavailable):
        store.put("objects/big", BIG)
    (note,) = store.staging().glob(f"*{NOTE_SUFFIX}")
    assert store.sweep() == 0
    note.write_text("{")
    store.put("objects/big", BIG)
    note.write_text("{")
    os.utime(note, (1, 1))
    assert store.sweep() == 1


@pytest.mark.slow
def test_more_than_one_request_may_hold_arrives(store: DropboxStore, fake_dropbox: FakeDropbox) -> None:
    path = store.staging() / "huge"
    with path.open("wb") as file:
        file.truncate(LARGEST_REQUEST + 1)
    with pytest.raises(Exception, match="payload_too_large"):
        store._client.files_upload(path.read_bytes(), "/too-big")
    store.put("objects/huge", path)
    assert fake_dropbox.home.files["/database-backups/objects/huge"].data == path.read_bytes()


# ── trouble


@pytest.mark.parametrize("kind", ["429", "429-plain"])
def test_a_rate_limit_is_waited_for_as_long_as_dropbox_says(
    store: DropboxStore, fake_dropbox: FakeDropbox, kind: str
) -> None:
    fake_dropbox.retry_after = 17
    fake_dropbox.plan(kind, "files/upload", times=2)
    waited: list[float] = []
    patient(store, waited).put("k", b"x")
    assert waited == [17.0, 17.0]
    assert read_all(store, "k") == b"x"


@pytest.mark.parametrize("kind", ["500", "503", "drop", "lost"])
def test_what_may_pass_is_tried_again(store: DropboxStore, fake_dropbox: FakeDropbox, kind: str) -> None:
    fake_dropbox.plan(kind, "files/upload")
    with pytest.raises(StoreUnavailable):
        store.put("once", b"x")
    fake_dropbox.plan(kind, "files/upload")
    fake_dropbox.plan(kind, "files/get_metadata")
    fake_dropbox.plan(kind, "files/download")
    fake_dropbox.plan(kind, "files/delete_v2")
    again = patient(store)
    again.put("k", b"x")
    assert again.stat("k") is not None
    assert read_all(again, "k") == b"x"
    again.delete("k")
    assert again.stat("k") is None


def test_a_download_that_is_cut_is_an_error_and_goes_on_where_it_may(
    store: DropboxStore, fake_dropbox: FakeDropbox
) -> None:
    store.put("objects/big", BIG)
    fake_dropbox.plan("cut", "files/download")
    with store.get("objects/big") as stream, pytest.raises(StoreUnavailable):
        stream.read()
    fake_dropbox.plan("cut", "files/download", times=2)
    assert read_all(patient(store), "objects/big") == BIG
    assert [one for one in fake_dropbox.seen if one.route == "files/download"]


@pytest.mark.parametrize("kind", ["503", "429", "drop"])
def test_a_listing_goes_on_at_the_page_that_failed(
    store: DropboxStore, fake_dropbox: FakeDropbox, kind: str
) -> None:
    keys = [f"shop/{number}" for number in range(30)]
    for key in keys:
        store.put(key, b"x")
    fake_dropbox.seen.clear()
    fake_dropbox.plan(kind, "files/list_folder/continue", after=2)
    assert sorted(stat.key for stat in patient(store).list("shop/")) == sorted(keys)
    assert fake_dropbox.routes().count("files/list_folder") == 1


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 9))])
def test_at_every_failure_nothing_is_lost_and_nothing_half_written(
    store: DropboxStore, fake_dropbox: FakeDropbox, seed: int
) -> None:
    random = Random(seed)
    routes = ["upload", "download", "get_metadata", "list_folder", "delete_v2"]
    routes += ["upload_session/start", "upload_session/append_v2", "upload_session/finish"]
    contents = {
        f"objects/{n:02}": random.randbytes(size) for n, size in enumerate((10, 0, PIECE + 1, 9 << 20))
    }
    faults = [
        fake_dropbox.plan(
            random.choice(["429", "500", "503", "drop", "lost"]), f"files/{route}", times, after
        )
        for route in routes
        for times, after in [(random.randint(1, 2), random.randint(0, 1))]
    ]
    again = RetryingStore(store, Patience(attempts=20, sleep=lambda _seconds: None))
    for key, data in contents.items():
        again.put(key, data)
        assert all(stat.size == len(contents[stat.key]) for stat in again.list())
    while any(fault.fired < fault.times for fault in faults):
        again.put("zz/more", BIG[: 9 << 20])
        again.put("zz/more", b"y", overwrite=True)
        assert again.stat("zz/more") is not None
        assert read_all(again, "zz/more") == b"y"
        again.delete("zz/more")
    assert {stat.key: read_all(again, stat.key) for stat in again.list()} == contents


Arrange = Callable[[FakeDropbox, StoreOptions], StoreOptions]


def _expired(fake: FakeDropbox, given: StoreOptions) -> StoreOptions:
    fake.tokens[fake.token].expired = True
    return given


def _revoked(fake: FakeDropbox, given: StoreOptions) -> StoreOptions:
    fake.tokens.clear()
    return given


def _no_scope(fake: FakeDropbox, given: StoreOptions) -> StoreOptions:
    fake.tokens[fake.token].scopes = SCOPES - {"files.content.write"}
    return given


def _full(fake: FakeDropbox, given: StoreOptions) -> StoreOptions:
    fake.home.quota = 0
    return given


def _team_without_member(fake: FakeDropbox, given: StoreOptions) -> StoreOptions:
    fake.tokens[fake.token].team = True
    return given


def _no_such_member(fake: FakeDropbox, given: StoreOptions) -> StoreOptions:
    fake.tokens[fake.token].team = True
    return replace(given, select_user="dbmid:nobody")


def _no_such_namespace(fake: FakeDropbox, given: StoreOptions) -> StoreOptions:
    return replace(given, namespace="4711")


def _bad_refresh(fake: FakeDropbox, given: StoreOptions) -> StoreOptions:
    return replace(given, token=None, refresh_token="refresh-secret", app_key="key")


@pytest.mark.parametrize(
    ("arrange", "message", "remedy"),
    [
        (_expired, "has ended", "refresh_token"),
        (_revoked, "not valid", "help config"),
        (_no_scope, r"lacks the scope files\.content\.write", "Permissions"),
        (_full, "the account is full", "free space"),
        (_team_without_member, "entire Dropbox Business team", "select_user"),
        (_no_such_member, "names no member", "dbmid"),
        (_no_such_namespace, "namespace cannot be entered", "namespace"),
        (_bad_refresh, "not valid", "new one"),
    ],
)
def test_what_will_not_pass_is_said_at_once_with_a_remedy(
    fake_dropbox: FakeDropbox, tmp_path: Path, arrange: Arrange, message: str, remedy: str
) -> None:
    store = patient(DropboxStore(arrange(fake_dropbox, options(fake_dropbox, tmp_path))))
    with pytest.raises(VaultError, match=message) as caught:
        store.put("k", b"x")
    assert not isinstance(caught.value, StoreUnavailable)
    assert remedy in caught.value.remedy
    assert fake_dropbox.token not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert fake_dropbox.home.files == {}


def test_an_unknown_certificate_is_refused(store: DropboxStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(VaultError, match="certificate is not trusted") as caught:
        store.put("k", b"x")
    assert "REQUESTS_CA_BUNDLE" in caught.value.remedy


@pytest.mark.parametrize(
    "more", [{"token": None}, {"token": None, "refresh_token": "r"}, {"token": None, "app_key": "k"}]
)
def test_without_a_token_nothing_is_tried(
    fake_dropbox: FakeDropbox, tmp_path: Path, more: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="refresh_token"):
        DropboxStore(options(fake_dropbox, tmp_path, **more)).put("k", b"x")
    assert fake_dropbox.seen == []


def test_an_address_with_two_slashes_is_corrected(fake_dropbox: FakeDropbox, tmp_path: Path) -> None:
    wrong = replace(options(fake_dropbox, tmp_path), url="dropbox://BACKUPS/here")
    with pytest.raises(ConfigError) as caught:
        DropboxStore(wrong).put("k", b"x")
    assert "dropbox:///BACKUPS/here" in caught.value.remedy


# ── who we are


def test_a_refresh_token_gets_access_tokens_as_they_end(fake_dropbox: FakeDropbox, tmp_path: Path) -> None:
    fake_dropbox.refresh_tokens["refresh"] = ("key", "app-secret")
    given = options(fake_dropbox, tmp_path, token=None, refresh_token="refresh")
    store = DropboxStore(replace(given, app_key="key", app_secret="app-secret"))
    store.put("k", b"x")
    for token in fake_dropbox.tokens.values():
        token.expired = True
    store.put("l", b"y")
    assert {stat.key for stat in store.list()} == {"k", "l"}
    assert len({one.token for one in fake_dropbox.seen}) == 2


def test_a_team_s_folder_is_reached_as_a_member_in_a_namespace(
    fake_dropbox: FakeDropbox, tmp_path: Path
) -> None:
    fake_dropbox.namespaces["2000"] = Namespace()
    fake_dropbox.members["dbmid:me"] = [HOME, "2000"]
    fake_dropbox.refresh_tokens["team"] = ("key", "")
    given = options(fake_dropbox, tmp_path, token=None, refresh_token="team", app_key="key")
    store = DropboxStore(replace(given, select_user="dbmid:me", namespace="2000"))
    store.put("k", b"x")
    store.put("objects/big", BIG)
    assert read_all(store, "k") == b"x"
    assert {stat.key for stat in store.list()} == {"k", "objects/big"}
    assert fake_dropbox.home.files == {}
    assert set(fake_dropbox.namespaces["2000"].files) == {
        "/database-backups/k",
        "/database-backups/objects/big",
    }
    assert {one.select_user for one in fake_dropbox.seen} == {"dbmid:me"}
    roots = {one.path_root for one in fake_dropbox.seen}
    assert roots == {'{".tag": "namespace_id", "namespace_id": "2000"}'}


def test_the_whole_of_an_app_folder_may_be_the_vault(fake_dropbox: FakeDropbox, tmp_path: Path) -> None:
    store = DropboxStore(replace(options(fake_dropbox, tmp_path), url="dropbox:///"))
    store.put("shop/1/manifest.json", b"x")
    assert list(store.folders()) == ["shop"]
    assert [stat.key for stat in store.list()] == ["shop/1/manifest.json"]
    assert store.address == "dropbox:///"


def test_the_doctor_hears_of_a_token_that_ends(fake_dropbox: FakeDropbox, tmp_path: Path) -> None:
    given = options(fake_dropbox, tmp_path)
    assert [finding.code for finding in DropboxStore(given).advice()] == ["dropbox-token-ends"]
    lasting = replace(given, token=None, refresh_token="refresh", app_key="key")
    assert list(DropboxStore(lasting).advice()) == []


def test_the_space_that_is_left_is_known_where_the_token_may_ask(
    store: DropboxStore, fake_dropbox: FakeDropbox
) -> None:
    assert store.room() is None
    fake_dropbox.tokens[fake_dropbox.token].scopes = SCOPES | {"account_info.read"}
    fake_dropbox.home.quota = 1000
    store.put("k", bytes(300))
    assert store.room() == Room(700, 1000)


def test_of_a_file_whose_hash_dropbox_does_not_state_nothing_is_said(store: DropboxStore) -> None:
    store.put("k", b"x")
    stat = store.stat("k")
    assert stat is not None
    said = store.attest(replace(stat, stated=""), hashlib.sha256(b"x").hexdigest())
    assert (said.needs_bytes, said.judge()) == (False, "unknown")


def test_no_secret_is_shown(fake_dropbox: FakeDropbox, tmp_path: Path) -> None:
    given = options(fake_dropbox, tmp_path, refresh_token="geheim", app_secret="geheim", app_key="key")
    assert "geheim" not in repr(DropboxStore(given))
    assert fake_dropbox.token not in repr(DropboxStore(given))
