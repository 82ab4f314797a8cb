"""How to sign in to Dropbox, what its errors mean, and its hash of contents: for the store and for the file source.

`DropboxAccess` is frozen and can be pickled; a client never is: every process makes its own at the first request.
The SDK is imported where it is used: the import costs a sixth of a second. The import also reads the environment
(DROPBOX_API_HOST …), once.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from backup_pipeline.errors import ConfigError

T = TypeVar("T")

#: What a Dropbox content hash is made of: the SHA-256 of the SHA-256s of blocks of this size.
HASH_BLOCK = 4 << 20
SECONDS = 60
#: How often `patiently` tries, and how long it lets Dropbox make it wait.
ATTEMPTS = 6
LONGEST_WAIT = 300.0


@dataclass(frozen=True, slots=True)
class DropboxAccess:
    #: An access token ends after four hours; a refresh token does not, and needs the key of the app it was given to.
    token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    app_key: str | None = None
    app_secret: str | None = field(default=None, repr=False)
    #: The team member (dbmid:…) to act as, and the namespace in which paths begin.
    select_user: str | None = None
    namespace: str | None = None


_lock = threading.Lock()
_made: dict[tuple[int, DropboxAccess], Any] = {}


def client(access: DropboxAccess) -> Any:
    """The client of this process. It does not try again by itself: the SDK would, but not when a line breaks."""
    key = (os.getpid(), access)
    with _lock:
        if key not in _made:
            _made[key] = _make(access)
        return _made[key]


def _make(access: DropboxAccess) -> Any:
    import dropbox

    if not access.token and not (access.refresh_token and access.app_key):
        raise ConfigError(
            "Dropbox needs a token, or a refresh_token together with the app_key of its app",
            remedy="set refresh_token and app_key (`backup-pipeline help config` says how to get them)",
        )
    make = dropbox.DropboxTeam if access.select_user else dropbox.Dropbox
    made = make(
        oauth2_access_token=access.token or None,
        oauth2_refresh_token=access.refresh_token or None,
        app_key=access.app_key,
        app_secret=access.app_secret or None,
        max_retries_on_error=0,
        max_retries_on_rate_limit=0,
        timeout=SECONDS,
        user_agent="backup-pipeline",
    )
    if access.select_user:
        made = made.as_user(access.select_user)
    if access.namespace:
        made = made.with_path_root(dropbox.common.PathRoot.namespace_id(access.namespace))
    return made


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why Dropbox refuses a request. A store or a source makes its own error of it."""

    #: missing: nothing is there · conflict: something is there · again: worth another try · refused: not worth one
    kind: Literal["missing", "conflict", "again", "refused"]
    message: str
    remedy: str = ""
    #: Seconds that Dropbox asked us to wait.
    retry_after: float | None = None
    #: The tags of its answer, outermost first: ("path", "conflict", "file").
    tags: tuple[str, ...] = ()


def failures() -> tuple[type[Exception], ...]:
    """Everything that a request can raise. The SDK asserts and looks up what a strange answer does not have."""
    import requests
    import urllib3
    from dropbox.exceptions import DropboxException
    from stone.backends.python_rsrc.stone_validators import ValidationError

    return (
        *(DropboxException, requests.RequestException, urllib3.exceptions.HTTPError),
        *(ValidationError, AssertionError, KeyError, ValueError, OSError),
    )


def patiently(work: Callable[[], T], sleep: Callable[[float], None] = time.sleep) -> T:
    """Ask until there is an answer, a refusal, or no patience left: then what went wrong last is raised."""
    for attempt in itertools.count(1):
        try:
            return work()
        except failures() as error:
            said = complaint(error)
            asked = said.retry_after or 0.0
            if said.kind != "again" or attempt == ATTEMPTS or asked > LONGEST_WAIT:
                raise
            sleep(asked + random.uniform(0.0, min(30.0, 0.25 * 2.0**attempt)))
    raise AssertionError("counting has no end")


def complaint(error: Exception) -> Complaint:
    import requests
    from dropbox import exceptions

    if isinstance(error, exceptions.RateLimitError):
        return Complaint("again", "Dropbox limits our rate", retry_after=error.backoff)
    if isinstance(error, exceptions.AuthError):
        return _signing_in(error)
    if isinstance(error, exceptions.PathRootError):
        return Complaint(
            "refused",
            f"the namespace cannot be entered ({'/'.join(tags_of(error.error)) or 'invalid'})",
            "check `namespace`, and that the team member of `select_user` is in that team folder",
        )
    if isinstance(error, exceptions.ApiError):
        return _answered(tags_of(error.error), error.user_message_text or "")
    if isinstance(error, exceptions.BadInputError):
        return Complaint(
            "refused",
            f"Dropbox does not understand the request: {str(error.body)[:300]}",
            "a team's token needs `select_user`; a token has to be of an app with the scopes files.metadata.read, "
            "files.content.read and files.content.write",
        )
    if isinstance(error, exceptions.HttpError):
        return Complaint("again", f"Dropbox answers with HTTP {error.status_code}")
    if isinstance(error, requests.exceptions.SSLError):
        return Complaint(
            "refused",
            f"the certificate is not trusted: {error}",
            "behind a proxy that opens TLS, let REQUESTS_CA_BUNDLE name a file with its certificate",
        )
    if isinstance(error, AssertionError | KeyError | ValueError) and not isinstance(error, OSError):
        return Complaint("again", f"what answers is not Dropbox ({type(error).__name__}: {str(error)[:200]})")
    return Complaint("again", f"Dropbox does not answer ({type(error).__name__}: {str(error)[:200]})")


def tags_of(error: object) -> tuple[str, ...]:
    """The nested unions of an answer as the tags that they are: path/conflict/file."""
    found = []
    while error is not None:
        tag = getattr(error, "_tag", None)
        if tag is not None:
            found.append(str(tag))
            error = getattr(error, "_value", None)
        else:
            error = getattr(error, "reason", None)
    return tuple(found)


def _signing_in(error: Any) -> Complaint:
    tags = tags_of(error.error)
    what = tags[0] if tags else "other"
    if what == "missing_scope":
        scope = getattr(getattr(error.error, "_value", None), "required_scope", "")
        return Complaint(
            "refused",
            f"the token lacks the scope {scope}",
            "tick it under Permissions of the app, and make a new refresh token: an old one keeps its scopes",
            tags=tags,
        )
    said = {
        "expired_access_token": (
            "the access token has ended",
            "access tokens live four hours: set refresh_token and app_key instead of token",
        ),
        "invalid_access_token": (
            "the token is not valid, or was revoked",
            "make a new one (`backup-pipeline help config` says how)",
        ),
        "invalid_select_user": (
            "`select_user` names no member whom this token may act as",
            "it is a team_member_id (dbmid:…), and the app needs the scope team_data.member",
        ),
        "user_suspended": ("the account is suspended", "ask the team's administrator"),
        "route_access_denied": (
            "this app may not do that",
            "give the app full access, or a folder of its own",
        ),
    }
    message, remedy = said.get(what, (f"Dropbox does not let us in ({what})", "make a new token"))
    return Complaint("refused", message, remedy, tags=tags)


_REFUSED = {
    "insufficient_space": ("the account is full", "free space, or enlarge the account"),
    "team_folder_insufficient_space": ("the team is out of space", "free space, or enlarge the team's plan"),
    "member_folder_insufficient_space": ("the member is out of space", "ask the team's administrator"),
    "upload_traffic_limit_reached": (
        "the team's limit of uploads is reached",
        "wait for the next month, or ask the team's administrator",
    ),
    "no_write_permission": ("this folder may not be written", "share it with the right to edit"),
    "access_restricted": ("access is restricted by the team", "ask the team's administrator"),
    "team_folder": ("a team folder is not written like this", "name a folder inside of it"),
    "disallowed_name": ("Dropbox does not allow the name", ""),
    "malformed_path": ("Dropbox does not understand the path", "paths begin with / and have no \\ in them"),
    "restricted_content": ("Dropbox has blocked the content", "ask Dropbox"),
    "locked": ("the file is locked", "unlock it in Dropbox"),
    "unsupported_content_type": ("the content cannot be given out", ""),
    "unsupported_file": ("the file cannot be downloaded, only exported", "export it by hand"),
    "encryption_not_supported": ("the team folder is encrypted end to end", "name another folder"),
    "payload_too_large": ("it is larger than Dropbox takes", ""),
}
_MISSING = {"not_found", "not_file", "not_folder"}
_AGAIN = {"too_many_write_operations", "too_many_requests", "operation_suppressed", "reset"}


def _answered(tags: tuple[str, ...], text: str) -> Complaint:
    shown = f" ({text})" if text else ""
    for tag in tags:
        if tag in _REFUSED:
            message, remedy = _REFUSED[tag]
            return Complaint("refused", message + shown, remedy, tags=tags)
    if "conflict" in tags:
        return Complaint("conflict", f"something is there already{shown}", tags=tags)
    if _MISSING & set(tags):
        return Complaint("missing", f"it is not there{shown}", tags=tags)
    if _AGAIN & set(tags):
        return Complaint("again", f"Dropbox is busy ({'/'.join(tags)}){shown}", tags=tags)
    return Complaint("again", f"Dropbox says {'/'.join(tags) or 'no'}{shown}", tags=tags)


class ContentHash:
    """Dropbox's hash of a content, as its bytes come by."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._block = hashlib.sha256()
        self._filled = 0

    def update(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            part = view[: HASH_BLOCK - self._filled]
            self._block.update(part)
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == HASH_BLOCK:
                self._whole.update(self._block.digest())
                self._block, self._filled = hashlib.sha256(), 0

    def hexdigest(self) -> str:
        whole = self._whole.copy()
        if self._filled:
            whole.update(self._block.digest())
        return whole.hexdigest()
