"""Sends a message to one address with Apprise, and says why it did not arrive."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from backup_pipeline.alerts.message import Message
from backup_pipeline.alerts.routes import Route


@dataclass(frozen=True, slots=True)
class Sent:
    route: Route
    arrived: bool
    #: Why it did not.
    why: str = ""


def send(route: Route, message: Message) -> Sent:
    if route.address is None:
        return Sent(route, False, route.problem)
    import apprise

    messenger = apprise.Apprise()
    # Apprise says why only in its log, and a log is no place for addresses.
    with apprise.LogCapture(level=apprise.logging.WARNING, fmt="%(message)s") as said:  # type: ignore[no-untyped-call]
        arrived = messenger.add(route.address) and messenger.notify(
            body=message.body,
            title=message.title,
            notify_type=apprise.NotifyType.FAILURE,
            body_format=apprise.NotifyFormat.TEXT,
        )
        return Sent(route, bool(arrived), "" if arrived else " ".join(said.getvalue().split()))


@dataclass(frozen=True, slots=True)
class Round:
    """Several messages, one after the other. An address that does not answer takes seconds, so it is tried once a round:
    a tick of the daemon that takes longer than a minute is lost, with what it remembers of the others."""

    routes: Sequence[Route]
    _deaf: dict[str, Sent] = field(default_factory=dict)

    def send(self, message: Message, done: Collection[str] = ()) -> tuple[Sent, ...]:
        """To each address that has it not yet; `done` names those that have (`Route.id`)."""
        sent = tuple(
            self._deaf.get(route.id) or send(route, message) for route in self.routes if route.id not in done
        )
        self._deaf.update({one.route.id: one for one in sent if not one.arrived})
        return sent
