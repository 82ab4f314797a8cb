"""What commands tell, in the state folder: a letter for each command that failed, until every address has it.

    .backup-pipeline/alerts/20261129T020013Z-1f2e3d4c.json

The sensor `failure_alert` reads it as well: it passes over the runs that a command told of, and sends what did not arrive.
A letter is written before it is sent, and one process sends at a time, so that each address gets it once.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backup_pipeline.alerts.message import Message
from backup_pipeline.alerts.routes import Route
from backup_pipeline.alerts.sending import Round, Sent
from backup_pipeline.config import Settings
from backup_pipeline.errors import Damaged, VaultError
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import parse_timestamp, timestamp
from backup_pipeline.processes.birth import born
from backup_pipeline.state import paths
from backup_pipeline.stores.local import LocalStore

#: A letter that every address has stays so long: the sensor looks back a day.
REMEMBERED = timedelta(days=2)
#: A letter that an address does not take is given up after this.
PATIENCE = timedelta(days=30)
#: A command on another host that shares the state folder is waited for so long.
ELSEWHERE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Letter:
    id: str
    #: When it was begun.
    at: str
    #: The runs of Dagster that it tells of.
    runs: tuple[str, ...] = ()
    #: Empty: the command is still at work, and tells of its runs when it ends.
    title: str = ""
    body: str = ""
    #: `Route.id` of the addresses that have it.
    done: tuple[str, ...] = ()
    #: Of the command: host, process, the start of the process.
    process: tuple[str, int, str] = ("", 0, "")

    @property
    def message(self) -> Message:
        return Message(self.title, self.body)

    def is_abandoned(self, now: datetime) -> bool:
        """The command ended without a word: it was killed. Of another host, that is only known after a while."""
        host, pid, start = self.process
        if self.title:
            return False
        if host == socket.gethostname():
            return born(pid) != start
        return now - parse_timestamp(self.at) > ELSEWHERE


def begun(now: datetime) -> Letter:
    pid = os.getpid()
    name = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    return Letter(name, timestamp(now), process=(socket.gethostname(), pid, born(pid)))


def keep(settings: Settings, letter: Letter) -> VaultError | None:
    """What stood in the way is given back: a message that cannot be remembered is sent all the same."""
    try:
        file = paths.letter(settings.state_folder, letter.id)
        LocalStore(settings.make_state(file.parent)).put(file.name, canonical.encode(letter), overwrite=True)
    except VaultError as error:
        return error
    return None


def drop(settings: Settings, letter: Letter) -> None:
    with suppress(OSError):
        paths.letter(settings.state_folder, letter.id).unlink()


def letters(settings: Settings) -> Iterator[Letter]:
    """Oldest first. One that cannot be read hides no other."""
    for file in sorted(paths.alerts(settings.state_folder).glob("*.json")):
        with suppress(Damaged, OSError):
            yield canonical.decode(Letter, file.read_bytes(), what=str(file))


def deliver(settings: Settings, letter: Letter, routes: Sequence[Route]) -> tuple[Sent, ...]:
    """Send it to each address that has it not, and remember which took it."""
    with _alone(settings):
        return _deliver(settings, letter, Round(routes))


def deliver_the_rest(settings: Settings, routes: Sequence[Route], now: datetime) -> int:
    """What did not arrive earlier; how many letters wait still. Letters that are of no more use are removed."""
    if not paths.alerts(settings.state_folder).is_dir():
        return 0
    waiting, sending = 0, Round(routes)
    with _alone(settings):
        for letter in letters(settings):
            age = now - parse_timestamp(letter.at)
            missing = {route.id for route in routes} - set(letter.done)
            if (
                age > PATIENCE
                or letter.is_abandoned(now)
                or (letter.title and not missing and age > REMEMBERED)
            ):
                drop(settings, letter)
            elif letter.title and missing:
                waiting += not all(one.arrived for one in _deliver(settings, letter, sending))
    return waiting


def _deliver(settings: Settings, letter: Letter, sending: Round) -> tuple[Sent, ...]:
    sent = sending.send(letter.message, letter.done)
    done = (*letter.done, *(one.route.id for one in sent if one.arrived))
    keep(settings, replace(letter, done=done))
    return sent


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Two that send at once would send twice. Where there is no lock to be had, twice is better than not."""
    handle = -1
    with suppress(OSError, VaultError):
        file = paths.alerts_lock(settings.state_folder)
        settings.make_state(file.parent)
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle >= 0:
            os.close(handle)


@dataclass(frozen=True, slots=True)
class Told:
    """What commands have told, or are about to."""

    #: Runs that a letter tells of.
    runs: frozenset[str] = frozenset()
    #: Runs whose command is still at work.
    waiting: frozenset[str] = frozenset()


def told(settings: Settings, now: datetime) -> Told:
    found = [letter for letter in letters(settings) if not letter.is_abandoned(now)]
    return Told(_runs(found, lambda one: bool(one.title)), _runs(found, lambda one: not one.title))


def _runs(found: Collection[Letter], which: Callable[[Letter], bool]) -> frozenset[str]:
    return frozenset(run for letter in found if which(letter) for run in letter.runs)
