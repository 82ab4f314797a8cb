"""One order a verb: everything that can be asked of it.

Flags of the command line, run configuration of Dagster and keywords of Python follow from these fields. So a setting is
written once. An order is data: what it means is decided in `operations/`, in the file of its verb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

T = TypeVar("T")

Kind = Literal["scheduled", "manual", "pre-migration", "pre-restore", "imported"]
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
    required: bool = False
    #: The smallest and the largest number.
    between: tuple[int, int] | None = None
    #: How what is typed is read: `5%`, `7d`, the name of a file.
    form: Literal["text", "percent", "duration", "file", "newest"] = "text"
    #: `--help` names the default.
    shows_default: bool = False
    #: The value need not be typed: `--update` means this.
    bare: str = ""

    def spelling(self, one: Field[Any]) -> str:
        return self.flag or f"--{'no-' if one.default is True else ''}{one.name.replace('_', '-')}"


def described(help: str, **how: Any) -> Mapping[str, Any]:
    return {"option": Option(help, **how)}


def option(default: T, help: str, **how: Any) -> T:
    """A field that has a flag, and need not be given."""
    return field(default=default, metadata=described(help, **how))


@dataclass(frozen=True, slots=True)
class Order:
    #: Of Python alone: the path of a backup.yaml (else $BACKUP_CONFIG, else the current folder), or what `load` gave.
    config: Config = field(default=None, kw_only=True, repr=False, compare=False)


def options_of(order: type[Any]) -> dict[Field[Any], Option]:
    """The fields that have a flag, in their order."""
    return {one: one.metadata["option"] for one in fields(order) if "option" in one.metadata}


_THAW: dict[str, Any] = {
    "help": "Ask the archive (Glacier) for what cannot be read, wait for it, and go on. It costs a fee.",
    "choices": TIERS,
}
_COPY: dict[str, Any] = {"help": "In this copy instead of the vault.", "metavar": "NAME"}


@dataclass(frozen=True, slots=True)
class BackupOrder(Order):
    system: str
    _: KW_ONLY
    full: bool = option(False, "Read everything; recognise nothing as unchanged.")
    only: Sequence[str] = option(
        (),
        "Only this group, table, pattern or file tree (a list, or more than once): a partial backup, which never counts as the newest.",
        metavar="GROUP|TABLE|files.TREE",
    )
    kind: Kind = option(
        "manual",
        "Why it is made; kept in it.",
        choices=("manual", "scheduled", "pre-migration"),
        shows_default=True,
    )
    #: Migrations that the caller is about to apply.
    pending: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyOrder(Order):
    system: str
    #: An id, `latest`, or `all`.
    id: str | None = field(default=None, metadata={"word": "[ID|latest|all]"})
    _: KW_ONLY
    quick: bool = option(
        False, "The stored bytes only: there, as long as they should be, with the right SHA-256."
    )
    read: float | None = option(
        None,
        "With --copy: read so much of it back, another part each time until all was read; 100% is everything, as in the vault.",
        metavar="N%",
        form="percent",
    )
    thaw: Tier | None = option(None, **_THAW)


@dataclass(frozen=True, slots=True)
class DrillOrder(Order):
    system: str
    id: str | None = None
    _: KW_ONLY
    scratch: str | None = option(
        None,
        "A server on which a database may be made and dropped [else `scratch:` of the system, else a throw-away one].",
        metavar="URL",
    )
    all_files: bool = option(False, "Restore all files, and not a sample of each tree.")
    thaw: Tier | None = option(None, **_THAW)


@dataclass(frozen=True, slots=True)
class CopyOrder(Order):
    system: str
    id: str | None = field(default=None, metadata={"word": "[ID|latest|all]"})
    _: KW_ONLY
    to: Sequence[str] = option(
        (), "Only this copy (repeat it for more); `vault` is the vault.", metavar="NAME"
    )
    source: str = option(
        "vault",
        "Where the backups are taken from: a copy, when the vault was lost.",
        flag="--from",
        metavar="NAME",
        shows_default=True,
    )
    thaw: Tier | None = option(None, **_THAW)
    #: Seconds to wait for another copy to the same place, which may have begun before the newest backup.
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class RepairOrder(Order):
    system: str
    _: KW_ONLY
    place: str = option("vault", "What is healed.", flag="--copy", metavar="NAME", shows_default=True)
    sources: Sequence[str] = option(
        (),
        "Where right bytes are taken from (repeat it for more) [every other place].",
        flag="--from",
        metavar="NAME",
    )
    quick: bool = option(False, "Look for what is missing or of another length; read no object.")
    set_aside: bool = option(
        False,
        "Move damaged objects that no place has right out of the way: the next backup stores their content anew.",
    )
    dry_run: bool = option(False, "Say what would be healed, and write nothing.")


@dataclass(frozen=True, slots=True)
class PruneOrder(Order):
    system: str | None = None
    _: KW_ONLY
    dry_run: bool = option(False, "Say what would go and why, and change nothing.")
    copy: str | None = option(None, "Prune this copy instead of the vault.", metavar="NAME")
    despite_anomaly: bool = option(
        False,
        "Go on although the newest backups have collapsed or the clock looks wrong: a person has looked.",
    )
    #: Seconds to wait for a lock.
    patience: float = 0.0
    #: Backups that the vault has, and that a dry run supposes gone.
    supposing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ScrubOrder(Order):
    _: KW_ONLY
    window: int | None = option(
        None,
        "Within so many days everything is to be read [else `scrub: window_days:`].",
        metavar="DAYS",
        between=(1, 3650),
    )
    everything: bool = option(False, "Read everything now.", flag="--all")
    copy: str | None = option(None, "Scrub this copy instead of the vault.", metavar="NAME")


@dataclass(frozen=True, slots=True)
class PinOrder(Order):
    system: str
    id: str | None = None
    _: KW_ONLY
    reason: str = option("", "Why: `list` and `prune` show it.", metavar="TEXT")
    copy: str | None = option(None, **_COPY)


@dataclass(frozen=True, slots=True)
class UnpinOrder(Order):
    system: str
    id: str
    _: KW_ONLY
    copy: str | None = option(None, **_COPY)


@dataclass(frozen=True, slots=True)
class ForgetOrder(Order):
    system: str
    id: str
    _: KW_ONLY
    reason: str = option("", "Why: it stands in the record that stays.", metavar="TEXT")
    force: Sequence[str] = option(
        (),
        "Break this promise: newest, newest-whole, proven, pre-migration, pre-restore, pinned, locked, imported. Once for each.",
        metavar="PROMISE",
    )
    copy: str | None = option(None, **_COPY)


@dataclass(frozen=True, slots=True)
class RekeyOrder(Order):
    system: str
    _: KW_ONLY
    dry_run: bool = option(False, "Only say what is under other keys. Needs no key.")


@dataclass(frozen=True, slots=True)
class RestoreOrder(Order):
    """Of the database."""

    system: str
    id: str | None = None
    _: KW_ONLY
    to: str = field(
        metadata=described(
            "The database to restore to (a URL); with --files, the folder for the files.", metavar="TARGET"
        )
    )
    create: bool = option(False, "Make that database first; it must not exist.")
    dry_run: bool = option(False, "Show the plan and write nothing; with --live: do it, and take it back.")
    jobs: int | None = option(None, "Sessions at a time [else `workers:`].", metavar="N", between=(1, 64))
    owner: bool = option(True, "Everything belongs to the login that restores.")
    privileges: bool = option(True, "Leave out GRANTs and default privileges.")
    roles: bool = option(False, "Make the roles that the server lacks as they were, without passwords.")
    code: bool = option(
        True, "Leave out functions, triggers, rules, and what uses them: nothing that the source wrote runs."
    )
    keep_going: bool = option(
        False, "Commit the rows; what cannot be made is listed, and the exit code is 10."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesOrder:
    """Which files are restored, and how."""

    #: None: all of the backup.
    trees: Sequence[str] = option(
        (),
        "Restore this file tree (or `all`: each into a folder of its name). More than once.",
        flag="--files",
        metavar="TREE",
    )
    #: As the patterns of `include`; none: all.
    globs: Sequence[str] = option(
        (),
        "Only what fits: 'orders/2026', '*.pdf', 'orders/**/a*' (as in .gitignore). More than once.",
        flag="--glob",
        metavar="PATTERN",
    )
    only_referenced: bool = option(False, "Only files that the rows of this backup name (`refs:`).")
    overwrite: bool = option(
        False, "Replace files that differ. The old one is kept as NAME.before-restore-ID."
    )
    keep: bool = option(True, "With --overwrite: do not keep it.")
    leave: bool = option(False, "Leave files that differ as they are, and restore the others.")
    owner: bool = option(False, "Give files to the user and group that they belonged to (root only).")
    outside_links: bool = option(False, "Make links that lead out of the tree, too.")
    salvage: bool = option(False, "Bring back what is whole of a damaged backup, and name the rest.")


@dataclass(frozen=True, slots=True)
class QueryOrder(Order):
    system: str
    id: str | None = field(metadata={"word": "ID|latest"})
    sql: str


@dataclass(frozen=True, slots=True)
class InitOrder(Order):
    """Its `config` is the file to write, where no `output` names one."""

    _: KW_ONLY
    database: str = field(
        metadata=described(
            "postgresql://user:password@host/name or sqlite:///file.db", metavar="URL", required=True
        )
    )
    vault: str = option("", "Where backups go [./vault beside the configuration].", metavar="DIR")
    system: str | None = option(None, "What the system is called [else after the database].", metavar="NAME")
    output: Path | None = option(
        None,
        "The configuration to write [else --config, else $BACKUP_CONFIG, else ./backup.yaml].",
        metavar="FILE",
        form="file",
    )
    add: bool = option(False, "Add the system to a configuration that is there; the rest stays as it is.")
    force: bool = option(False, "Write over a configuration that is there.")


@dataclass(frozen=True, slots=True)
class DoctorOrder(Order):
    system: str | None = None
    _: KW_ONLY
    mend: bool = option(
        False,
        "Close to other accounts what doctor names as open: the vault, the copies, the state folder, the history, key files.",
    )


@dataclass(frozen=True, slots=True)
class AckOrder(Order):
    system: str
    #: None: what is accepted is asked for.
    code: str | None = None
    _: KW_ONLY
    lasting: timedelta | None = option(
        None, "Tell it again after so long [else never].", flag="--for", metavar="7d", form="duration"
    )
    because: str = option("", "Why: `status` shows it.", metavar="TEXT")
    withdraw: bool = option(False, "Tell it again from now on.")


@dataclass(frozen=True, slots=True)
class KeygenOrder(Order):
    _: KW_ONLY
    out: Path | None = option(
        None,
        "The key file [backup-key.txt]. One that exists is never overwritten.",
        metavar="FILE",
        form="file",
    )
    paper: Path | None = option(
        None,
        "A copy to print, with a QR code: a .svg or a .txt. [Else it is shown, if this is a terminal.]",
        metavar="FILE",
        form="file",
    )
    signing: bool = option(
        False, "A key to sign backups with (ed25519), and no key to read them. [backup-signing.pem]"
    )


@dataclass(frozen=True, slots=True)
class BucketOrder(Order):
    #: `vault`, or a copy.
    name: str = field(metadata={"word": "vault|COPY"})
    _: KW_ONLY
    dry_run: bool = option(False, "Show the plan and the IAM policies, and change nothing.")
    policies: bool = option(False, "Show the IAM policies alone; no server is asked.")
    profile: str | None = option(
        None,
        "Sign in with this profile of ~/.aws: it takes more rights than the store's own credentials should have.",
        metavar="NAME",
    )
