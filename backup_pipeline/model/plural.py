"""How many of what, in a sentence."""

from __future__ import annotations


def plural(count: int, one: str, many: str = "") -> str:
    """2, "table" → "2 tables"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
