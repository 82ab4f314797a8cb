"""Is this machine ready for the next backup: the vault, its disk, the clock, the folder of state, the tools?

Looks and touches: a probe is written to the vault and taken away again, because only a write proves that one can
write. A vault that is not there yet is not made: that is the first backup's work.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from backup_pipeline.errors import BackupError, NotAllowed
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.ids import moment_of
from backup_pipeline.stores.base import Store, read_all
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.stores.staging import read_of
from backup_pipeline.vault import layout

#: Seconds by which the clock of the vault's file system may differ: ids and locks are told by the clock.
SKEW = 60.0
#: A few packs of 128 MiB and the chunks of as many workers are in the making at once.
STAGING = 2 * 2**30
#: What people need to recover without us, as RECOVER.md says it.
TOOLS = {"zstd": "apt-get install zstd", "sha256sum": "apt-get install coreutils"}


@dataclass(frozen=True, slots=True)
class Expected:
    """What there should be: the newest backup."""

    newest: str | None = None
    #: There was a vault, and it is gone: told instead of looking at an empty place.
    lost: tuple[Finding, ...] = ()


def inspect_machine(
    store: Store, folder: Path | None, state: Path, expected: Expected, *, now: datetime
) -> Report:
    """`folder` is where the vault lies (None: not on a disk of ours), `state` what this machine keeps for itself."""
    began = time.monotonic()
    vault: tuple[Finding, ...]
    if expected.lost:
        vault = expected.lost
    else:
        vault = tuple(inspect_place(store, folder, now))
        vault += () if folder is not None else tuple(_staging(state))
    findings = (
        *vault,
        *_clock(expected.newest, now),
        *_state(state),
        *_tools(),
    )
    return Report(
        f"this machine, and the vault at {store.address}",
        findings,
        {"checks": 5},
        seconds=time.monotonic() - began,
    )


def inspect_place(store: Store, folder: Path | None, now: datetime) -> Iterator[Finding]:
    """The vault, or a copy: whether it lets us in, and whether it can be written to."""
    return _far_vault(store, now) if folder is None else _vault(store, folder, now)


def _vault(store: Store, folder: Path, now: datetime) -> Iterator[Finding]:
    try:
        with read_of(f"cannot look at {folder}"):
            there, is_folder = folder.exists(), folder.is_dir()
            filled = is_folder and any(folder.iterdir())
        known = filled and store.stat(layout.VAULT) is not None
    except BackupError as error:  # a mount whose server is gone, a folder of another account
        yield Finding("error", "vault-unreachable", error.message, remedy=error.remedy)
        return
    if not there:
        yield from _new(folder, now)
        return
    if not is_folder:
        yield Finding(
            "error", "vault-not-a-folder", f"{folder} is not a folder", remedy="name another `vault:`"
        )
        return
    if filled and not known:
        remedy = "name an empty or new folder as `vault:`"
        yield Finding("error", "vault-foreign", f"{folder} is not empty and is not a vault", remedy=remedy)
        return
    yield from _probe(store, now)


def _new(folder: Path, now: datetime) -> Iterator[Finding]:
    """Tried beside the place where it is going to be: a file system may be writable and have no hard links."""
    above = next(parent for parent in folder.parents if parent.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".backup-pipeline-doctor-", dir=above) as place:
            found = [
                replace(one, message=one.message.replace(place, str(folder)))
                for one in _probe(LocalStore(Path(place)), now)
            ]
    except OSError as error:
        message = f"{folder} cannot be made: {above} is not writable ({error.strerror})"
        remedy = f"make {folder}, owned by the user that runs backups"
        found = [Finding("error", "vault-not-writable", message, remedy=remedy)]
    yield from found
    if not found:
        yield Finding("info", "vault-new", f"{folder} does not exist yet: the first backup makes it")


def _far_vault(store: Store, now: datetime) -> Iterator[Finding]:
    """A bucket, a server: whether it lets us in, and what it promises."""
    try:
        known = store.stat(layout.VAULT) is not None
        foreign = None if known else next(iter(store.list()), None)
        once = store.creates_once()
    except BackupError as error:
        yield Finding("error", "vault-unreachable", error.message, remedy=error.remedy)
        return
    if foreign is not None:
        message = f"{store.address} is not empty and is not a vault (it holds {foreign.key})"
        remedy = "name an empty or new place as `vault:`"
        yield Finding("error", "vault-foreign", message, remedy=remedy)
        return
    if not known:
        message = f"{store.address} holds no vault yet: the first backup makes it"
        yield Finding("info", "vault-new", message)
    found = tuple(_probe(store, now))
    # Where nothing can be written, that is the finding: what else the server refuses follows from it.
    if not once and not any(one.marked("not_writable") for one in found):
        message = f"{store.address} cannot create a key only once: two writers are told apart by reading back"
        remedy = "let one host write to it, or use a store that can: a folder, OpenSSH's or ProFTPD's server, a bucket of AWS or R2"
        yield Finding("info", "creates-not-conditional", message, remedy=remedy)
    # What is peculiar to one kind of store is known to that store: a key that others can read, a token that ends.
    try:
        yield from store.advice()
    except BackupError as error:
        yield Finding("error", "vault-unreachable", error.message, remedy=error.remedy)
    yield from found


def _staging(state: Path) -> Iterator[Finding]:
    """What goes to a store elsewhere is made here first."""
    place = next(parent for parent in (state, *state.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < STAGING:
        message = f"{place} has {free / 2**30:.1f} GiB free: objects are made there before they are sent"
        remedy = "make room, or set `state:` to a folder on another disk"
        yield Finding("warning", "staging-low", message, remedy=remedy)


def _probe(store: Store, now: datetime) -> Iterator[Finding]:
    # Who may not delete leaves the probe: then it is better always the same.
    near = store.features.moves_staged_files
    key = f"tmp/doctor-{secrets.token_hex(8)}" if near else "tmp/doctor"
    data = secrets.token_bytes(4096)
    try:
        store.put(key, data, overwrite=not near)
        back, stat = read_all(store, key), store.stat(key)
        with contextlib.suppress(*(() if near else (NotAllowed,))):
            store.delete(key)
    except BackupError as error:
        yield Finding("error", "vault-not-writable", error.message, remedy=error.remedy)
        return
    if back != data or stat is None:
        remedy = "do not trust this disk: check its cables, its file system, the network mount"
        yield Finding(
            "error", "vault-lies", "what was written to the vault came back different", remedy=remedy
        )
        return
    skew = (stat.modified - max(now, datetime.now(UTC))).total_seconds()
    if abs(skew) > SKEW:
        remedy = "run a time service (chrony, systemd-timesyncd) on both machines"
        yield Finding(
            "warning", "clock-skew", f"the vault's clock differs from this one by {skew:.0f} s", remedy=remedy
        )


def _clock(newest: str | None, now: datetime) -> Iterator[Finding]:
    if newest is not None and moment_of(newest) > now:
        yield Finding(
            "error",
            "clock-behind",
            f"the newest backup is {newest}, which is later than this machine's clock ({now:%Y-%m-%d %H:%M:%SZ})",
            remedy="set the clock right: a backup is never filed before an older one. If the clock is right and was wrong "
            "when that backup was made, `backup-pipeline forget` takes it out of the vault",
        )


def _state(state: Path) -> Iterator[Finding]:
    place = next(parent for parent in (state, *state.parents) if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        yield Finding(
            "warning",
            "state-not-writable",
            f"{place} is not writable: no inventory and no run history can be kept",
            remedy="set `state:` to a folder of the user that runs backups",
        )


def _tools() -> Iterator[Finding]:
    for tool, install in TOOLS.items():
        if shutil.which(tool) is None:
            message = f"{tool} is not on this machine: a recovery by hand (RECOVER.md) needs it"
            yield Finding("info", f"no-{tool}", message, remedy=install)
