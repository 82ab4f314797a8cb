"""What a verb is handed, and what it gives back."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

import click

from backup_pipeline.cli.orders import ordered, takes
from backup_pipeline.cli.page import Page, clean
from backup_pipeline.config.redaction import passwords_in, redact
from backup_pipeline.errors import BackupError
from backup_pipeline.model.orders import Order
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.processes import waiting

if TYPE_CHECKING:
    from backup_pipeline.model.acts import Act, Fact
    from backup_pipeline.operations import Site


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of a verb: data for --json, a page for people, and the failure."""

    #: For --json: a dataclass, a mapping, a sequence of them.
    data: object
    #: For people.
    page: Callable[[Page], None]
    #: The verb did its work, and what it found is bad: shown after the page, and the exit code.
    failure: BackupError | None = None
    #: What --quiet keeps: the answer to a question, but not the report of a deed that went well.
    answer: bool = True
    #: For the log of acts, what the arguments of the verb do not say: which backup, and figures by their names …
    backup: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    #: … or, where it came to be several acts, these.
    acts: Sequence[Act] = ()


@dataclass
class Call:
    """One invocation: the options that every verb has, and the streams."""

    config: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    #: "always", "never"; else where no terminal is attached.
    alert: str | None = None
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    #: What must not be shown, beside what the configuration knows.
    secrets: list[str] = field(default_factory=list)
    #: What to say of the work when it is interrupted: what is true of it, looked up then.
    interrupted: Callable[[], str] = lambda: "nothing was changed"
    #: Whether the interruption was a SIGTERM.
    terminated: Callable[[], bool] = lambda: False
    #: Whether `alerts:` is told when it fails.
    tells: bool = False
    #: Called with each run that the work begins.
    promise: Callable[[str], None] = lambda _: None
    #: The run of Dagster that recorded the work.
    run: str = ""

    @cached_property
    def site(self) -> Site:
        from backup_pipeline.operations import Site

        site = Site.load(self.config)
        self.secrets.extend(site.settings.secrets)
        return site

    def began(self, run: str) -> None:
        """The first run is that of the work; more are of its copies."""
        self.run = self.run or run
        self.promise(run)

    @property
    def loaded(self) -> Site | None:
        """The site, where the verb came so far."""
        return self.__dict__.get("site")

    def hide(self, *urls: str | None) -> None:
        """Addresses given on the command line: their passwords are never shown."""
        for url in urls:
            self.secrets.extend(passwords_in(url) if url and "://" in url else ())

    def redacted(self, text: str) -> str:
        return redact(text, self.secrets)

    @property
    def colour(self) -> bool:
        return not self.json and _colour(self.stdout)

    def page(self) -> Page:
        return Page(colour=self.colour)

    def note(self, text: str) -> None:
        """Something worth knowing beside the answer: stderr, and nothing with --quiet."""
        if not self.quiet:
            self.say(text)

    def say(self, text: str, colour: str | None = None) -> None:
        text = self.redacted(text)
        if colour and _colour(self.stderr):
            text = click.style(text, fg=colour, bold=True)
        tell(self.stderr, text + "\n")

    @contextmanager
    def progress(self, doing: str) -> Iterator[Listener]:
        """A listener that shows how far it is: a bar on a terminal, a line now and then in a log. What is shown that way has
        time."""
        if self.quiet:
            with waiting.having_time(waiting.to(silent)):
                yield silent
            return
        from backup_pipeline.cli.progress import showing

        with (
            showing(clean(doing), self.stderr, colour=_colour(self.stderr)) as listener,
            waiting.having_time(waiting.to(listener)),
        ):
            yield listener


def tell(stream: TextIO, text: str) -> None:
    """To a person who may have gone: a closed terminal or log must not end a backup."""
    try:
        stream.write(text)
        stream.flush()
    except UnicodeEncodeError:
        stream.write(text.encode("ascii", "backslashreplace").decode())
        stream.flush()
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.EIO):
            forget(stream)
    except ValueError:
        return


def forget(stream: object) -> None:
    """A stream whose reader is gone for good. What it still holds would fail again when the interpreter flushes it at its
    end, and become the exit code."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
        finally:
            os.close(nowhere)


def _colour(stream: TextIO) -> bool:
    """Colours for a terminal that can, and a person who wants them (https://no-color.org)."""
    return (
        stream.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "dumb") not in ("", "dumb")
    )


#: What a verb does: `def list_(call: Call, system: str | None) -> Reply`.
Deed = Callable[..., Reply]


@dataclass(frozen=True, slots=True)
class Job:
    """A command line that was understood: what is to be done, and with what."""

    verb: str
    call: Call
    deed: Deed
    arguments: dict[str, Any]
    order: type[Order] | None = None

    def do(self) -> Reply:
        try:
            reply = self._deed()
        except BackupError as error:
            better = self._diagnosed(error)
            if better is error:
                raise
            raise better from error
        failed = reply.failure
        return reply if failed is None else replace(reply, failure=self._diagnosed(failed))

    def _deed(self) -> Reply:
        if self.order is None:
            return self.deed(self.call, **self.arguments)
        own = {name: value for name, value in self.arguments.items() if name not in takes(self.order)}
        return self.deed(self.call, ordered(self.order, self.arguments), **own)

    def _diagnosed(self, error: BackupError) -> BackupError:
        """What it means where there are copies: for every verb, also where it went around the methods of Site."""
        site = self.call.loaded
        if site is None:
            return error
        from backup_pipeline.operations import diagnosing

        said = self.arguments
        place = next((said[name] for name in ("place", "source", "copy") if said.get(name)), None)
        if place not in (None, "vault", *site.settings.copies):
            return error  # it is the place that was wrong
        return diagnosing.explain(site.at(place), said.get("system"), error, reading="place" in said)
