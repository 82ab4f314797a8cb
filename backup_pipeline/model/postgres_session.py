"""How a PostgreSQL session is set that writes row text or reads it. Defaults of the role, the database and the server do
not count. Backup, restore, drill and RECOVER.md take the settings from here.

A test goes over `pg_settings` of each server: a setting that a role or a database may have stands here, or in the test
with the reason why it cannot change a value. So a setting of a new major version fails the test until it was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Without blanks, because RECOVER.md gives them to libpq in PGOPTIONS.
ROW_TEXT: Mapping[str, str] = {
    # First: a role may have a timeout that even the settings below would not survive.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "TimeZone": "UTC",
    "timezone_abbreviations": "Default",
    "DateStyle": "ISO,YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "3",
    "lc_monetary": "C",
    "xmloption": "content",
    "xmlbinary": "base64",
    # With this off, `{NULL}` is read as an array that holds the text "NULL".
    "array_nulls": "on",
    "search_path": "",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    # Filtered rows would be a silent loss: with this off they are an error.
    "row_security": "off",
    # A limit makes a search by a GIN index leave out rows: a materialised view would lack them.
    "gin_fuzzy_search_limit": "0",
    "constraint_exclusion": "partition",
    # A statement that is tried may fail; the session goes on.
    "exit_on_error": "off",
}

_SINCE: Mapping[int, Mapping[str, str]] = {
    14: {"idle_session_timeout": "0"},
    16: {"icu_validation_level": "warning"},
    17: {"transaction_timeout": "0"},
}


def row_text(major: int) -> dict[str, str]:
    """The settings that a server of this major version knows."""
    settings = dict(ROW_TEXT)
    for since, more in _SINCE.items():
        if major >= since:
            settings |= more
    return settings
