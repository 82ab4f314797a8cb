"""What encryption costs: bytes a second of age alone, by wall clock and by processor, both ways; and an object
stored and read with and without it, in one run.

These are calls and not commands, measured in one process, so they have a table of their own. What the whole of a backup
costs more stands in the one of the files ("backup, encrypted").
"""

from __future__ import annotations

import hashlib
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backup_pipeline.model.manifest import ObjectRef
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import crypto
from backup_pipeline.vault.crypto import Given, Keys, decrypted, encryptor
from backup_pipeline.vault.objects import Objects, ObjectWriter, read_blocks

BLOCK = os.urandom(1 << 20)


@dataclass(frozen=True)
class Took:
    wall: float
    cpu: float


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def measured(act: Callable[[], None]) -> Took:
    began, before = time.perf_counter(), _cpu()
    act()
    return Took(time.perf_counter() - began, _cpu() - before)


def blocks(mib: int) -> Iterator[bytes]:
    for _ in range(mib):
        yield BLOCK


def cases(folder: Path, mib: int) -> dict[str, Callable[[], None]]:
    secret, public = crypto.generate()
    keys = Keys((public,), Given(secret))
    stored = folder / "stored.age"

    def encrypt() -> None:
        with stored.open("wb") as out:
            sink = encryptor(keys, out.write)
            for block in blocks(mib):
                sink.write(block)
            sink.finish()

    def decrypt() -> None:
        with stored.open("rb") as file, decrypted(keys, file) as stream:
            while stream.read(1 << 20):
                pass

    def write(locked: bool) -> None:
        writer = ObjectWriter(LocalStore(folder / f"vault-{locked}"), keys=keys if locked else None)
        references[locked] = writer.write(blocks(mib), ".blob")

    def read(locked: bool) -> None:
        objects = Objects(LocalStore(folder / f"vault-{locked}"), keys if locked else None)
        for _ in read_blocks(objects, references[locked]):
            pass

    def digest() -> None:
        found = hashlib.sha256()
        for block in blocks(mib):
            found.update(block)

    references: dict[bool, ObjectRef] = {}
    found: dict[str, Callable[[], None]] = {"SHA-256 alone": digest, "encrypt": encrypt, "decrypt": decrypt}
    for locked in (False, True):
        word = "encrypted" if locked else "plain"
        found[f"store an object, {word}"] = lambda locked=locked: write(locked)  # type: ignore[misc]
        found[f"read an object, {word}"] = lambda locked=locked: read(locked)  # type: ignore[misc]
    return found


def part(mib: int, runs: int) -> str:
    """A part of RESULTS.md. In memory (/dev/shm) where there is such a thing: no disk is measured."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        acts = cases(Path(folder), mib)
        took: dict[str, list[Took]] = {name: [] for name in acts}
        for _ in range(runs):
            for name, act in acts.items():
                took[name].append(measured(act))
                print(f"    {name:<34} {took[name][-1].wall:8.2f} s", flush=True)
    size = mib * 2**20 / 1e6
    rows = "".join(
        f"| {name} | {size / statistics.median(one.wall for one in found):.0f} |"
        f" {size / statistics.median(one.cpu for one in found):.0f} |\n"
        for name, found in took.items()
    )
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {mib} MiB that do not shrink, {os.cpu_count()} cores shared by everything that ran, load"
        f" {os.getloadavg()[0]:.1f},\nmedians of {runs} interleaved runs of calls, warm cache. The processor time is of all processes,"
        " ours\nincluded.\n\n"
        "| work | MB/s | MB/s a core |\n|---|---:|---:|\n" + rows
    )
