"""`backup --all`: each system in turn; what goes wrong with one keeps none of the others from its backup."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from backup_pipeline.cli import document
from backup_pipeline.cli.acting import acting, learn
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page, one_line
from backup_pipeline.cli.units import plural
from backup_pipeline.errors import BackupError, Interrupted, UsageError


@dataclass(frozen=True, slots=True)
class _Done:
    system: str
    #: None: no backup was made.
    reply: Reply | None
    failure: BackupError | None


def systems_for(call: Call, system: str | None, *, everything: bool, only: Sequence[str]) -> tuple[str, ...]:
    """Those that a command line means. Without one, the answer is which there are."""
    names = tuple(call.site.systems)
    if everything and (system or only):
        raise UsageError("--all is every system, whole", remedy="leave SYSTEM and --only out, or --all")
    if everything:
        return names
    if not system:
        raise UsageError(
            f"which system? The configuration has {', '.join(names)}",
            remedy=f"backup-pipeline backup {names[0]}, or --all of them",
        )
    return (system,)


def back_up_all(call: Call, names: Sequence[str], one: Callable[[str], Reply]) -> Reply:
    done = []
    for name in names:
        call.run = ""
        with acting(call, "backup", name) as doing:
            try:
                reply = one(name)
                learn(doing, reply)
                done.append(_Done(name, reply, reply.failure))
            except Interrupted:
                raise
            except BackupError as error:
                doing.act = doing.act.failed(error)
                done.append(_Done(name, None, error))

    def page(page: Page) -> None:
        for each in done:
            if each.reply is None:
                _unmade(call, page, each)
            elif each.failure or not call.quiet:
                each.reply.page(page)

    return Reply([_told(call, each) for each in done], page, _worst(done), answer=False)


def _unmade(call: Call, page: Page, done: _Done) -> None:
    assert done.failure is not None
    page.heading(done.system)
    word = page.style("NO BACKUP", "red", bold=True)
    page.line(f"{word} {done.failure.code}: {one_line(call.redacted(done.failure.message))}")
    for line in call.redacted(done.failure.remedy).splitlines():
        page.line(f"→ {one_line(line)}")


def _worst(done: Sequence[_Done]) -> BackupError | None:
    """No backup is worse than one that is made and has an error; else the first."""
    bad = [(each.system, each.failure) for each in done if each.failure is not None]
    if not bad:
        return None
    unmade = [each.failure for each in done if each.reply is None and each.failure is not None]
    worst = unmade[0] if unmade else bad[0][1]
    if len(done) == 1:
        return worst
    told = "; ".join(f"{name}: {failure.message}" for name, failure in bad)
    return type(worst)(
        f"{len(bad)} of {plural(len(done), 'backup')} did not go well: {told}", remedy=worst.remedy
    )


def _told(call: Call, done: _Done) -> dict[str, Any]:
    """As the document of that system alone, with its name."""
    data = done.reply.data if done.reply else None
    if done.failure is None:
        return {"system": done.system, **document.success(data)}
    shown = type(done.failure)(call.redacted(done.failure.message), remedy=call.redacted(done.failure.remedy))
    return {"system": done.system, **document.failure(shown, data)}
