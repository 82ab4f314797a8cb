"""One of several processes that work on one vault at the same time: `python -m … ROLE CONFIG SEED`.

Each does its work over and over until its input ends, and writes after each deed how much it has done. The grace time and the allowance for
clocks are nothing here, so that only the protocol between writers and prune keeps objects alive.
"""

from __future__ import annotations

import random
import select
import sqlite3
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup_pipeline import config
from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.errors import NotFound
from backup_pipeline.model.orders import BackupOrder, CopyOrder, PruneOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline.operations.copy import copy_to
from backup_pipeline.operations.prune import locked_by_the_vault
from backup_pipeline.retention import sweep
from backup_pipeline.retention.prune import Conditions, Rules, prune
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_each

SYSTEMS = ("shop", "office")
RULES = {name: Rules(RetentionSettings(last=2)) for name in SYSTEMS}


def change(path: Path, dice: random.Random) -> None:
    """One of four states, the same for every system: content comes, goes, and comes back in the very same bytes."""
    state = dice.randrange(4)
    with sqlite3.connect(path, timeout=30) as connection:
        connection.execute("DELETE FROM rows")
        connection.executemany(
            "INSERT INTO rows VALUES (?, ?)", ((n, f"{state} {n * 7919 % 10007}") for n in range(400))
        )
    connection.close()


def back_up(site: Site, system: str, dice: random.Random) -> int:
    change(Path(site.url(system).removeprefix("sqlite:///")), dice)
    backup(site, BackupOrder(system, full=dice.random() < 0.5))
    return 1


def forget(site: Site, place: Vault, locked: Callable[[str, str], str]) -> int:
    terms = Conditions(RULES, timedelta(0), datetime.now(UTC), locked)
    report = prune(place, terms, PruneOrder(despite_anomaly=True))
    bad = [finding for finding in report.findings if finding.severity == "error"]
    assert not bad, bad
    return report.freed.objects


def look(place: Vault, dice: random.Random) -> int:
    system = dice.choice(SYSTEMS)
    for identifier, report in verify_each(place, system, quick=True):
        # What prune takes while it is looked at is no damage.
        if not report.ok and identifier in place.ids(system):
            time.sleep(0.2)
            if identifier in place.ids(system):
                raise AssertionError(f"{system} {identifier}: {report.errors}")
    return 1


def replicate(site: Site, dice: random.Random) -> int:
    try:
        report = copy_to(site, CopyOrder(dice.choice(SYSTEMS)), "other")
    except NotFound:
        return 0  # the first backup is not there yet
    bad = [finding for finding in report.findings if finding.severity == "error"]
    assert not bad, bad
    return len(report.copied)


def done(path: Path, role: str) -> int:
    """How much the process of this role has done so far."""
    note = path.with_name(f"{role}.done")
    return int(note.read_text() or 0) if note.exists() else 0


def main(role: str, path: str, seed: str) -> None:
    sweep.SKEW = timedelta(0)
    site, dice = Site(config.load(Path(path))), random.Random(f"{role} {seed}")
    deeds: dict[str, Callable[[], int]] = {
        "shop": lambda: back_up(site, "shop", dice),
        "office": lambda: back_up(site, "office", dice),
        "prune": lambda: forget(site, site.vault, lambda _system, _id: ""),
        "prune-copy": lambda: forget(site, site.copy("other"), locked_by_the_vault(site)),
        "verify": lambda: look(site.vault, dice),
        "verify-copy": lambda: look(site.copy("other"), dice),
        "copy": lambda: replicate(site, dice),
    }
    count = 0
    while not select.select([sys.stdin], [], [], dice.uniform(0, 0.05))[0]:
        count += deeds[role]()
        Path(path).with_name(f"{role}.done").write_text(str(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
