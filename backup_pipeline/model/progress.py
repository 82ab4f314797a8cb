"""How long work says how far it is. The caller passes a listener; the work does not print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Phase = Literal["export", "files", "verify", "load", "index", "compare", "copy", "thaw", "wait"]


@dataclass(frozen=True, slots=True)
class Advance:
    """Something was done since the last call. Totals are those of the whole phase, not of the subject; they are
    estimates until the work ends, and the last one told counts."""

    phase: Phase
    #: What is being worked on: "public.orders", an object's name, an index.
    subject: str
    rows: int = 0
    #: Plain bytes, as they are in the source.
    bytes: int = 0
    total_rows: int | None = None
    total_bytes: int | None = None
    #: "reused", "retry 2 of 3: the server restarted" …
    note: str = ""


Listener = Callable[[Advance], None]


def silent(_: Advance) -> None:
    """For callers that do not listen."""
