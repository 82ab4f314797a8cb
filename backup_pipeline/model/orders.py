"""One order a verb: everything that can be asked of it.

Flags of the command line, run configuration of Dagster and keywords of Python follow from these fields. So a setting is
written once. An order is data: what it means is decided in `operations/`, in the file of its verb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["scheduled", "manual", "pre-migration", "imported"]
Tier = Literal["standard", "bulk", "expedited"]
TIERS: tuple[Tier, ...] = ("standard", "bulk", "expedited")


class Loaded(Protocol):
    """A configuration that is loaded already: `operations.Site`."""

    place: str | None
    unsigned: bool


Config: TypeAlias = "str | Path | Loaded | None"


@dataclass(frozen=True, slots=True)
class Option:
    """How a field of an order is asked for, and what it means."""

    help: str
    #: As it is typed; else the name of the field: `--all-files`, and `--no-owner` for a field that is on.
    flag: str = ""
    metavar: str | None = None
    choices: Sequence[str] = ()
    #: The smallest and the largest number.
    between: tuple[int, int] | None = None
    percent: bool = False
    #: `--help` names the default.
    shows_default: bool = False

    def spelling(self, one: Field[Any]) -> str:
        return self.flag or f"--{'no-' if one.default is True else ''}{one.name.replace('_', '-')}"


def option(help: str, **how: Any) -> Mapping[str, Any]:
    return {"option": Option(help, **how)}


@dataclass(frozen=True, slots=True)
class Order:
    #: Of Python alone: the path of a backup.yaml (else $BACKUP_CONFIG, else the current folder), or what `load` gave.
    config: Config = field(default=None, kw_only=True, repr=False, compare=False)


def options_of(order: type[Any]) -> dict[Field[Any], Option]:
    """The fields that have a flag, in their order."""
    return {one: one.metadata["option"] for one in fields(order) if "option" in one.metadata}


_THAW = option(
    "Ask the archive (Glacier) for what cannot be read, wait for it, and go on. It costs a fee.",
    choices=TIERS,
)

_COPY = option("In this copy instead of the vault.", metavar="NAME")


@dataclass(frozen=True, slots=True)
class BackupOrder(Order):
    system: str
    _: KW_ONLY
    full: bool = field(default=False, metadata=option("Read everything; recognise nothing as unchanged."))
    only: Sequence[str] = field(
        default=(),
        metadata=option(
            "Only this group, table, pattern or file tree (repeat it for more): a partial backup, which never counts as the newest.",
            metavar="GROUP|TABLE|files.TREE",
        ),
    )
    kind: Kind = field(
        default="manual",
        metadata=option(
            "Why it is made; kept in it.",
            choices=("manual", "scheduled", "pre-migration"),
            shows_default=True,
        ),
    )
    #: Migrations that the caller is about to apply.
    pending: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyOrder(Order):
    system: str
    #: An id, `latest`, or `all`.
    id: str | None = None
    _: KW_ONLY
    quick: bool = field(
        default=False,
        metadata=option("The stored bytes only: there, as long as they should be, with the right SHA-256."),
    )
    read: float | None = field(
        default=None,
        metadata=option(
            "With --copy: read so much of it back, another part each time until all was read; 100% is everything, as in the vault.",
            metavar="N%",
            percent=True,
        ),
    )
    thaw: Tier | None = field(default=None, metadata=_THAW)


@dataclass(frozen=True, slots=True)
class DrillOrder(Order):
    system: str
    id: str | None = None
    _: KW_ONLY
    scratch: str | None = field(
        default=None,
        metadata=option(
            "A server on which a database may be made and dropped [else `scratch:` of the system, else a throw-away one].",
            metavar="URL",
        ),
    )
    all_files: bool = field(
        default=False, metadata=option("Restore all files, and not a sample of each tree.")
    )
    thaw: Tier | None = field(default=None, metadata=_THAW)


@dataclass(frozen=True, slots=True)
class CopyOrder(Order):
    system: str
    id: str | None = None
    _: KW_ONLY
    to: Sequence[str] = field(
        default=(),
        metadata=option("Only this copy (repeat it for more); `vault` is the vault.", metavar="NAME"),
    )
    source: str = field(
        default="vault",
        metadata=option(
            "Where the backups are taken from: a copy, when the vault was lost.",
            flag="--from",
            metavar="NAME",
            shows_default=True,
        ),
    )
    thaw: Tier | None = field(default=None, metadata=_THAW)


@dataclass(frozen=True, slots=True)
class RepairOrder(Order):
    system: str
    _: KW_ONLY
    place: str = field(
        default="vault",
        metadata=option("What is healed.", flag="--copy", metavar="NAME", shows_default=True),
    )
    sources: Sequence[str] = field(
        default=(),
        metadata=option(
            "Where right bytes are taken from (repeat it for more) [every other place].",
            flag="--from",
            metavar="NAME",
        ),
    )
    quick: bool = field(
        default=False, metadata=option("Look for what is missing or of another length; read no object.")
    )
    set_aside: bool = field(
        default=False,
        metadata=option(
            "Move damaged objects that no place has right out of the way: the next backup stores their content anew."
        ),
    )
    dry_run: bool = field(default=False, metadata=option("Say what would be healed, and write nothing."))


@dataclass(frozen=True, slots=True)
class PruneOrder(Order):
    system: str | None = None
    _: KW_ONLY
    dry_run: bool = field(default=False, metadata=option("Say what would go and why, and change nothing."))
    copy: str | None = field(
        default=None, metadata=option("Prune this copy instead of the vault.", metavar="NAME")
    )
    despite_anomaly: bool = field(
        default=False,
        metadata=option(
            "Go on although the newest backups have collapsed or the clock looks wrong: a person has looked."
        ),
    )
    #: Seconds to wait for a lock.
    patience: float = 0.0
    #: Backups that the vault has, and that a dry run supposes gone.
    supposing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ScrubOrder(Order):
    _: KW_ONLY
    window: int | None = field(
        default=None,
        metadata=option(
            "Within so many days everything is to be read [else `scrub: window_days:`].",
            metavar="DAYS",
            between=(1, 3650),
        ),
    )
    everything: bool = field(default=False, metadata=option("Read everything now.", flag="--all"))
    copy: str | None = field(
        default=None, metadata=option("Scrub this copy instead of the vault.", metavar="NAME")
    )


@dataclass(frozen=True, slots=True)
class PinOrder(Order):
    system: str
    id: str | None = None
    _: KW_ONLY
    reason: str = field(default="", metadata=option("Why: `list` and `prune` show it.", metavar="TEXT"))
    copy: str | None = field(default=None, metadata=_COPY)


@dataclass(frozen=True, slots=True)
class UnpinOrder(Order):
    system: str
    id: str
    _: KW_ONLY
    copy: str | None = field(default=None, metadata=_COPY)


@dataclass(frozen=True, slots=True)
class ForgetOrder(Order):
    system: str
    id: str
    _: KW_ONLY
    reason: str = field(
        default="", metadata=option("Why: it stands in the record that stays.", metavar="TEXT")
    )
    force: Sequence[str] = field(
        default=(),
        metadata=option(
            "Break this promise: newest, newest-whole, proven, pre-migration, pinned, locked, imported. Once for each.",
            metavar="PROMISE",
        ),
    )
    copy: str | None = field(default=None, metadata=_COPY)


@dataclass(frozen=True, slots=True)
class RekeyOrder(Order):
    system: str
    _: KW_ONLY
    dry_run: bool = field(default=False, metadata=option("Only say what is under other keys. Needs no key."))


@dataclass(frozen=True, slots=True)
class RestoreOrder(Order):
    """Of the database."""

    system: str
    id: str | None = None
    _: KW_ONLY
    to: str = field(
        metadata=option(
            "The database to restore to (a URL); with --files, the folder for the files.", metavar="TARGET"
        )
    )
    create: bool = field(default=False, metadata=option("Make that database first; it must not exist."))
    dry_run: bool = field(default=False, metadata=option("Show the plan and write nothing."))
    jobs: int | None = field(
        default=None,
        metadata=option("Sessions at a time [else `workers:`].", metavar="N", between=(1, 64)),
    )
    owner: bool = field(default=True, metadata=option("Everything belongs to the login that restores."))
    privileges: bool = field(default=True, metadata=option("Leave out GRANTs and default privileges."))
    roles: bool = field(
        default=False,
        metadata=option("Make the roles that the server lacks as they were, without passwords."),
    )
    code: bool = field(
        default=True,
        metadata=option(
            "Leave out functions, triggers, rules, and what uses them: nothing that the source wrote runs."
        ),
    )
    keep_going: bool = field(
        default=False,
        metadata=option("Commit the rows; what cannot be made is listed, and the exit code is 10."),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesOrder:
    """Which files are restored, and how."""

    #: None: all of the backup.
    trees: Sequence[str] = field(
        default=(),
        metadata=option(
            "Restore this file tree (or `all`: each into a folder of its name). More than once.",
            flag="--files",
            metavar="TREE",
        ),
    )
    #: As the patterns of `include`; none: all.
    globs: Sequence[str] = field(
        default=(),
        metadata=option(
            "Only what fits: 'orders/2026', '*.pdf', 'orders/**/a*' (as in .gitignore). More than once.",
            flag="--glob",
            metavar="PATTERN",
        ),
    )
    only_referenced: bool = field(
        default=False, metadata=option("Only files that the rows of this backup name (`refs:`).")
    )
    overwrite: bool = field(
        default=False,
        metadata=option("Replace files that differ. The old one is kept as NAME.before-restore-ID."),
    )
    keep: bool = field(default=True, metadata=option("With --overwrite: do not keep it."))
    leave: bool = field(
        default=False,
        metadata=option("Leave files that differ as they are, and restore the others."),
    )
    owner: bool = field(
        default=False,
        metadata=option("Give files to the user and group that they belonged to (root only)."),
    )
    outside_links: bool = field(default=False, metadata=option("Make links that lead out of the tree, too."))
    salvage: bool = field(
        default=False,
        metadata=option("Bring back what is whole of a damaged backup, and name the rest."),
    )
