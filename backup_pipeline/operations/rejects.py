"""Rows that the database refused, as a CSV file: the table, the error, and the row as JSON."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable
from pathlib import Path

from backup_pipeline.databases.merge.plan import Rejected
from backup_pipeline.errors import ConfigError

HEADERS = ("table", "sqlstate", "error", "row")


def need_place(path: Path | None) -> None:
    """Asked before the merge begins: afterwards it would be too late to say that the file has no place."""
    if path is not None and (not os.access(path.parent, os.W_OK | os.X_OK) or path.is_dir()):
        raise ConfigError(
            f"{path}: rejected rows cannot be written there",
            remedy="name a file in a folder that may be written: --rejects FILE",
        )


def write(path: Path, rejected: Iterable[Rejected]) -> None:
    """For its owner alone: it holds rows. An older file of this name is replaced."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADERS)
        for one in rejected:
            row = json.dumps(dict(zip(one.columns, one.values, strict=False)), ensure_ascii=False)
            writer.writerow((str(one.table), one.sqlstate, one.error, row))
