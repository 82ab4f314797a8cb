"""What SQLite makes of the declared type of a column."""

from __future__ import annotations


def affinity(declared: str) -> str:
    """The five rules of SQLite (datatype3, 3.1), in their order."""
    text = declared.upper()
    if "INT" in text:
        return "INTEGER"
    if any(word in text for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if not text or "BLOB" in text:
        return "BLOB"
    if any(word in text for word in ("REAL", "FLOA", "DOUB")):
        return "REAL"
    return "NUMERIC"
