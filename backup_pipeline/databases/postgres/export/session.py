"""What every session that reads or compares rows looks like, so that equal rows are equal text in the same order."""

from __future__ import annotations

from collections.abc import Mapping

from backup_pipeline.model.postgres_session import row_text

#: The same rows in the same order give the same object: a scan must begin at the first page and end at the last,
#: beside the scans of other sessions too, and in one process.
STEADY_SCANS: Mapping[str, str] = {
    "synchronize_seqscans": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}

#: Encodings in which every character has one place in Unicode and back, so that UTF-8 text is exact.
_EXACT_IN_UTF8 = frozenset(
    [
        *("UTF8", "KOI8R", "KOI8U", "WIN866", "WIN874"),
        *(f"LATIN{n}" for n in range(1, 11)),
        *(f"ISO_8859_{n}" for n in range(5, 9)),
        *(f"WIN125{n}" for n in range(9)),
    ]
)


def session_settings(server_version: int) -> dict[str, str]:
    """The settings that a server of this version (`160014`) knows."""
    return {**row_text(server_version // 10000), **STEADY_SCANS}


def row_encoding(server_encoding: str) -> str:
    """The encoding of the row text: UTF-8 where that is exact, else the database's own, not converted at all."""
    return "UTF8" if server_encoding in _EXACT_IN_UTF8 else server_encoding
