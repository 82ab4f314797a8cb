"""The command: its verbs, and the options that all of them have, before or after the verb."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from backup_pipeline.cli.call import Call, Deed, Job
from backup_pipeline.cli.orders import completed
from backup_pipeline.model.orders import Order
from backup_pipeline.model.version import __version__

#: Verb → what `--help` says of it, in the order of `--help`: from the first day to the bad one. Each lives in the
#: module of its name, which is loaded when the verb is named; the first line of its help is this one.
VERBS = {
    "init": "Look at a database and write a commented configuration for it.",
    "doctor": "Look for what would stop or weaken the next backup.",
    "inventory": "List the tables of a database, with what a backup would leave out and why.",
    "backup": "Back a system up: its tables as of one moment, and its files, into the vault.",
    "list": "List the backups there are, and which of them are proven.",
    "show": "Show one backup: its tables, what it left out and why, findings, proofs.",
    "status": "Say whether a system is protected: backed up lately, proven by a drill, whole.",
    "verify": "Verify that every byte of a backup is still there and right.",
    "drill": "Prove a backup: restore it into a scratch place and compare every row, and files.",
    "restore": "Restore a backup: into a new database, into a living one, files into a folder.",
    "undo": "Take a restore into a living database back.",
    "around": "Run a command, show which rows it changed, and undo it when asked.",
    "prune": "Forget the backups that no rule wants, and free what nothing names any more.",
    "ack": "Accept a finding that `status` tells.",
    "pin": "Keep a backup against every rule.",
    "unpin": "Let the rules decide about a backup again.",
    "forget": "Forget one backup now.",
    "scrub": "Read a part of everything back, so that all of it is read within a window.",
    "copy": "Bring the copies of a system up to date.",
    "repair": "Heal what is lost or damaged in one place from another that has the right bytes.",
    "query": "Run SQL over the tables of a backup without restoring it.",
    "keygen": "Make a key for an encrypted vault, and a copy of it on paper.",
    "rekey": "After the recipients changed, bring the newest backup under them.",
    "bucket": "Make the bucket of the vault, or of a copy, what a bucket of backups should be.",
    "alert": "Send a test message to every address of `alerts:`.",
    "ui": "Start the Dagster UI and the daemon that runs the schedules.",
    "demo": "Protect a small shop and a blog, break them, and bring them back.",
    "help": "Print a page of the documentation: config, commands, errors, findings, dagster, format.",
}

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    call = context.find_object(Call)  # this option is read before --json
    if call is not None and call.json:
        from backup_pipeline.cli import document

        document.write(document.success({"version": __version__}), call.stdout)
    else:
        click.echo(f"backup-pipeline {__version__}")
    context.exit()


def everywhere() -> list[click.Parameter]:
    """The options of the command itself and of each verb."""
    return [
        click.Option(["--config"], metavar="FILE", help="The configuration [else $BACKUP_CONFIG, else ./backup.yaml]."),
        click.Option(["--json"], is_flag=True, help="One JSON document on stdout, also after an error."),
        click.Option(["-q", "--quiet"], is_flag=True, help="No progress, no notes, no report of what went well."),
        click.Option(
            ["--alert"], type=click.Choice(["auto", "always", "never"]), metavar="WHEN",
            help="Tell `alerts:` when it fails: always, never, or auto: where no terminal is attached [else auto].",
        ),
        click.Option(["-v", "--verbose"], is_flag=True, help="Tracebacks of errors."),
        click.Option(
            ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_show_version,
            help="Show the version and exit.",
        ),
    ]  # fmt: skip


EVERYWHERE = ("config", "json", "quiet", "alert", "verbose")


class Verb(click.Command):
    """A verb does nothing while the command line is read: it gives a Job."""

    def __init__(
        self,
        name: str,
        deed: Deed,
        params: Sequence[click.Parameter],
        examples: str,
        order: type[Order] | None = None,
    ) -> None:
        super().__init__(
            name,
            params=[*params, *everywhere()],
            help=f"{VERBS[name]}\n\n{inspect.cleandoc(deed.__doc__ or '')}",
            context_settings=CONTEXT,
            no_args_is_help=False,
        )
        self.deed = deed
        self.order = order
        self.examples = examples
        #: Heading of --help → names of parameters. The others stand under "Options".
        self.groups: Mapping[str, Sequence[str]] = {}

    def invoke(self, context: click.Context) -> Job:
        arguments = dict(context.params)
        if (before := arguments.pop("before", None)) is not None:
            if arguments["id"] is not None:
                raise click.UsageError(
                    f"{arguments['id']} names a backup, and --before names another", context
                )
            arguments["id"] = f"before {before}"
        given = {name: arguments.pop(name) for name in EVERYWHERE}
        above = context.parent.params if context.parent else {}
        either: dict[str, Any] = {name: given[name] or above.get(name) for name in EVERYWHERE}
        call = Call(**either)
        return Job(self.name or "", call, self.deed, arguments, self.order)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        everywhere = "Options of every verb"
        headings = {name: heading for heading, names in self.groups.items() for name in names}
        headings |= dict.fromkeys((*EVERYWHERE, "version", "help"), everywhere)
        records: dict[str, list[tuple[str, str]]] = {
            heading: [] for heading in ("Options", *self.groups, everywhere)
        }
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
            if record is not None:
                records[headings.get(parameter.name or "", "Options")].append(record)
        for heading, found in records.items():
            if found:
                with formatter.section(heading):
                    formatter.write_dl(found)

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for line in self.examples.strip().splitlines():
                formatter.write(f"{'':{formatter.current_indent}}{line.strip()}\n")


class App(click.Group):
    """Loads the file of a verb when the verb is named."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        found = import_module(f"backup_pipeline.cli.{name}").verb
        assert isinstance(found, Verb)
        return found

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        import difflib

        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(VERBS)}."
            raise click.UsageError(f"There is no verb {args[0]!r}.{hint}", context)
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), what) for code, what in EXIT_CODES.items()])


#: In words; errors.py holds the numbers, and a test that these are the same.
EXIT_CODES = {
    0: "done, and what was found is good",
    1: "an error without a class of its own",
    2: "the command line or the configuration is wrong",
    3: "no such system, backup or table",
    4: "the database cannot be read as it should be",
    5: "the vault cannot be read or written",
    6: "another backup of the system is running",
    7: "stored bytes are not what the manifest says",
    8: "less was produced than was asked for",
    9: "the restore did not happen; the target is as it was",
    10: "the work is done, and an error is the outcome (backup, verify, drill, scrub)",
    11: "a program is missing",
    12: "a throw-away database server did not start",
    13: "status: a system is not protected",
    14: "doctor, bucket, alert: something stands in the way",
    15: "the Dagster instance cannot be opened",
    16: "it is encrypted, and the key is not here",
    17: "a copy does not hold what it should; the backup itself is whole",
    18: "prune: something was in the way, and was left as it is",
    70: "a defect of backup-pipeline",
    130: "Ctrl-C (143: SIGTERM)",
}


def as_verb(
    name: str, *params: click.Parameter, examples: str, order: type[Order] | None = None
) -> Callable[[Deed], Verb]:
    """Make a verb of the function that does it; the function's docstring is its help. What an `order` takes of the command
    line comes to the function as that order, and the rest by its names. `params`: what the order does not ask for, or
    where it has another place in --help."""

    def made(deed: Deed) -> Verb:
        found = list(params) if order is None else completed(order, params)
        return Verb(name, deed, [*found, *([_before()] if name in _ONE_BACKUP else [])], examples, order)

    return made


#: They look at one backup, which need not be named.
_ONE_BACKUP = ("show", "verify", "drill", "restore", "pin", "copy")


def _before() -> click.Option:
    text = "The newest full backup from before TIME (2026-11-20, '2026-11-20 14:30'), and not [ID]."
    return click.Option(["--before"], metavar="TIME", help=text)


def system_argument(*, required: bool = True) -> click.Argument:
    return click.Argument(["system"], required=required)


def backup_argument(metavar: str = "[ID|latest]") -> click.Argument:
    return click.Argument(["id"], required=False, metavar=metavar)


def _begin(**_: Any) -> None:
    """The options before the verb are read by the verb."""


app = App(
    "backup-pipeline",
    callback=_begin,
    params=everywhere(),
    context_settings=CONTEXT,
    subcommand_metavar="VERB [ARGS]...",
    no_args_is_help=True,
    help="Backups you can prove: consistent, checksummed recovery points of databases and their files, proven by real restores.",
)
