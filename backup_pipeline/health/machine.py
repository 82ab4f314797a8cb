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
TOOLS = ("zstd", "sha256sum")


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
        yield Finding.of("vault-unreachable", why=error.message, remedy=error.remedy)
        return
    if not there:
        yield from _new(folder, now)
        return
    if not is_folder:
        yield Finding.of("vault-not-a-folder", folder=folder)
        return
    if filled and not known:
        yield Finding.of("vault-foreign", folder=folder)
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
        found = [Finding.of("vault-not-writable", folder=folder, above=above, strerror=error.strerror)]
    yield from found
    if not found:
        yield Finding.of("vault-new", folder=folder)


def _far_vault(store: Store, now: datetime) -> Iterator[Finding]:
    """A bucket, a server: whether it lets us in, and what it promises."""
    try:
        known = store.stat(layout.VAULT) is not None
        foreign = None if known else next(iter(store.list()), None)
        once = store.creates_once()
    except BackupError as error:
        yield Finding.of("vault-unreachable", why=error.message, remedy=error.remedy)
        return
    if foreign is not None:
        yield Finding.of("vault-foreign/store", store=store.address, key=foreign.key)
        return
    if not known:
        yield Finding.of("vault-new/store", store=store.address)
    found = tuple(_probe(store, now))
    # Where nothing can be written, that is the finding: what else the server refuses follows from it.
    if not once and not any(one.marked("not_writable") for one in found):
        yield Finding.of("creates-not-conditional", store=store.address)
    # What is peculiar to one kind of store is known to that store: a key that others can read, a token that ends.
    try:
        yield from store.advice()
    except BackupError as error:
        yield Finding.of("vault-unreachable", why=error.message, remedy=error.remedy)
    yield from found


def _staging(state: Path) -> Iterator[Finding]:
    """What goes to a store elsewhere is made here first."""
    place = next(parent for parent in (state, *state.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < STAGING:
        yield Finding.of("staging-low", place=place, free=free / 2**30)


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
        yield Finding.of("vault-not-writable/probe", why=error.message, remedy=error.remedy)
        return
    if back != data or stat is None:
        yield Finding.of("vault-lies")
        return
    skew = (stat.modified - max(now, datetime.now(UTC))).total_seconds()
    if abs(skew) > SKEW:
        yield Finding.of("clock-skew", skew=skew)


def _clock(newest: str | None, now: datetime) -> Iterator[Finding]:
    if newest is not None and moment_of(newest) > now:
        yield Finding.of("clock-behind", newest=newest, now=now)


def _state(state: Path) -> Iterator[Finding]:
    place = next(parent for parent in (state, *state.parents) if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        yield Finding.of("state-not-writable", place=place)


def _tools() -> Iterator[Finding]:
    for tool in TOOLS:
        if shutil.which(tool) is None:
            yield Finding.of(f"no-{tool}")
