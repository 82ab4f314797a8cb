"""Objects that lie in an archive: which they are, asking for them, and how long that takes.

Only some stores have archives (`Store.thawing` is None for the others). A thaw puts a readable copy beside the archived
object for some days; it costs money by the gigabyte and by the request, so it is only ever asked for on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from backup_pipeline.model.orders import Tier

#: frozen: not asked for yet · thawing: it was asked for · thawed: readable until a day
State = Literal["frozen", "thawing", "thawed"]

#: What AWS publishes: class → tier → hours at most. A tier that is not there does not exist for that class.
#: "ARCHIVE_ACCESS" and "DEEP_ARCHIVE_ACCESS" are the two archives of INTELLIGENT_TIERING.
HOURS: dict[str, dict[Tier, float]] = {
    "GLACIER": {"expedited": 5 / 60, "standard": 5, "bulk": 12},
    "DEEP_ARCHIVE": {"standard": 12, "bulk": 48},
    "ARCHIVE_ACCESS": {"expedited": 5 / 60, "standard": 5, "bulk": 12},
    "DEEP_ARCHIVE_ACCESS": {"standard": 12, "bulk": 48},
}


@dataclass(frozen=True, slots=True)
class Frozen:
    """An object that cannot be read, or only until a day."""

    key: str
    size: int
    #: GLACIER | DEEP_ARCHIVE | ARCHIVE_ACCESS | DEEP_ARCHIVE_ACCESS
    archive: str
    state: State
    #: thawed: until then.
    until: datetime | None = None

    def hours(self, tier: Tier) -> float | None:
        """How long a thaw takes at most; None where the archive has no such tier."""
        return HOURS[self.archive].get(tier)


class Thawing(Protocol):
    def look(self, keys: Sequence[str]) -> tuple[Frozen, ...]:
        """Those of the keys that lie in an archive, in every state. A key that is not there is none of them."""

    def ask(self, frozen: Frozen, tier: Tier, days: int) -> None:
        """Ask for the thaw, or for more days of one that is there. Asking for what is under way is no error."""
