"""Are the records of restores whole: their documents, and the rows that an undo would need?"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from backup_pipeline.databases.engines import engine_named
from backup_pipeline.errors import ConfigError, Damaged, KeyMissing
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.manifest import ObjectRef
from backup_pipeline.vault import layout, lock, signing
from backup_pipeline.vault.restores import Restore, Restores
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.integrity import Job, Use, judge, look_at_all


def verify_restores(vault: Vault, system: str, *, quick: bool) -> Iterator[tuple[str, Report]]:
    """One report for each record. A damaged record hurts no backup: its restore cannot be undone."""
    for restore in Restores(vault, system).all():
        began, counted = time.monotonic(), Counter(restores=1)
        findings = tuple(_look(restore, counted, quick=quick))
        yield restore.id, Report(str(restore), findings, dict(counted), time.monotonic() - began)


def _look(restore: Restore, counted: Counter[str], *, quick: bool) -> Iterator[Finding]:
    try:
        uses = tuple(_uses(restore))
    except (Damaged, ConfigError) as error:  # or its engine is unknown
        yield Finding.of("restore-damaged", identifier=restore.id, why=error.message, system=restore.system)
        return
    if restore.state == "unknown" and not _is_at_work(restore):
        yield Finding.of("restore-unknown", identifier=restore.id, system=restore.system)
    if (state := restore.foreign) is not None:
        yield signing.finding(restore.system, restore.id, state)
    jobs, wants = [Job(use.reference, rows=use.rows is not None) for use in uses], {}
    for job, use in zip(jobs, uses, strict=True):
        wants[job.reference] = use
    closed = frozen = 0
    for job, seen in look_at_all(restore.vault.objects, jobs, unpack=not quick):
        counted["objects"] += 1
        counted["bytes"] += seen.size
        counted["rows"] += seen.rows.rows if seen.rows else 0
        frozen += job.reference.size if seen.frozen else 0
        closed += job.reference.size if seen.key_missing else 0
        yield from judge(wants[job.reference], seen)
    if closed:
        yield Finding.of("key-missing", count=1, mebibytes=closed / 2**20, system=restore.system)
    if frozen:
        yield Finding.of(
            "objects-frozen", count=1, mebibytes=frozen / 2**20, system=restore.system, identifier=restore.id
        )


def _is_at_work(restore: Restore) -> bool:
    """Its process may be about to note how it ended."""
    holder = lock.current(restore.vault.store, layout.lock_key(restore.system))
    return holder is not None and not lock.is_stale(holder, datetime.now(UTC))


def _uses(restore: Restore) -> Iterator[Use]:
    """Each object once. Without a key, what the outline says."""
    _ = restore.outline
    found: dict[ObjectRef, Use] = {}
    try:
        _ = restore.ended
        # The rows of a database that is a file have marks of their own, which `integrity` does not know.
        is_text = not engine_named(restore.prepared.engine.name).is_file
        for image in restore.prepared.images:
            what = f"rows of {image.schema}.{image.table} {image.which} the restore {restore.id}"
            whole = image.rows if is_text and len(image.objects) == 1 else None
            for one in image.objects:
                found[one] = Use(one, what, rows=whole, columns=len(image.columns))
    except KeyMissing:
        for item in restore.outline.objects:
            one = ObjectRef(item.sha256, item.size, item.suffix, "", 0)
            found[one] = Use(one, f"of the restore {restore.id}")
    yield from found.values()
