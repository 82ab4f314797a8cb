"""Answers as JSON: the fields of our dataclasses under their own names, all of them, so that a script can rely on
a key being there. (`canonical` is for what is stored: it leaves defaults out.)"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

from backup_pipeline.errors import BackupError
from backup_pipeline.model.schema import TableId


def plain(value: object) -> Any:
    if isinstance(value, TableId):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # NaN is not JSON
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (Path, Decimal, UUID)):
        return str(value)
    raise TypeError(f"no JSON for a {type(value).__name__}")


def success(data: object) -> dict[str, Any]:
    return {"ok": True, "data": plain(data)}


def failure(error: BackupError, data: object = None) -> dict[str, Any]:
    """With the data, where the work was done and what it found is bad: the report of a failed drill."""
    body: dict[str, Any] = {"ok": False}
    body["error"] = {"code": error.code, "message": error.message, "remedy": error.remedy}
    if data is not None:
        body["data"] = plain(data)
    return body


def write(document: dict[str, Any], stream: TextIO) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, ensure_ascii=True, indent=2, allow_nan=False)
    stream.write(text + "\n")
    stream.flush()
