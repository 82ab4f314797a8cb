"""What every session that reads or compares rows looks like, so that equal rows are equal text.

Restore and the drill use the same settings: a `money` or a `timestamptz` is written and read back alike, whatever
the role, the database or the server has as its defaults.
"""

from __future__ import annotations

from collections.abc import Mapping

SESSION_SETTINGS: Mapping[str, str] = {
    # First: a role may have a timeout that even the settings below would not survive.
    "statement_timeout": "0",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "3",
    "lc_monetary": "C",
    "xmloption": "content",
    "search_path": "",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    # Filtered rows would be a silent loss: with this off they are an error.
    "row_security": "off",
    "idle_in_transaction_session_timeout": "0",
    # The same rows in the same order give the same object: a scan must begin at the first page and end at
    # the last, whoever else is scanning, and in one process.
    "synchronize_seqscans": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}

_SINCE: Mapping[int, Mapping[str, str]] = {
    14: {"idle_session_timeout": "0"},
    17: {"transaction_timeout": "0"},
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
    settings = dict(SESSION_SETTINGS)
    for major, more in _SINCE.items():
        if server_version // 10000 >= major:
            settings |= more
    return settings


def row_encoding(server_encoding: str) -> str:
    """The encoding of the row text: UTF-8 where that is exact, else the database's own, not converted at all."""
    return "UTF8" if server_encoding in _EXACT_IN_UTF8 else server_encoding
