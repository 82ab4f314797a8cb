"""`help`: the pages of the documentation, which come with the program."""

from __future__ import annotations

from importlib import resources

import click

from backup_pipeline.cli.app import VERBS, Verb, app, as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.errors import UsageError

#: Topic → the page, below the package, and what it says.
TOPICS = {
    "commands": ("docs/COMMANDS.md", "Every verb, with examples; the Python API."),
    "config": ("docs/CONFIGURATION.md", "Every setting of backup.yaml."),
    "dagster": (
        "docs/DAGSTER.md",
        "The graph: assets, checks, jobs, schedules, sensors, and your own Dagster.",
    ),
    "errors": ("docs/ERRORS.md", "Exit codes, and the errors behind them."),
    "findings": ("docs/FINDINGS.md", "Every finding of a backup, a verification, a drill or the doctor."),
    "format": ("vault/FORMAT.md", "How a vault is laid out, so that it can be read without this program."),
    "threats": ("docs/THREATS.md", "Who may do what to a backup, and what holds against it."),
    "merge": ("docs/MERGE.md", "Exactly which rows a merge into a living database writes."),
}


@as_verb(
    "help",
    click.Argument(["topic"], required=False, metavar="[TOPIC|VERB]"),
    examples="""
    backup-pipeline help
    backup-pipeline help config | less
    backup-pipeline help restore
    """,
)
def verb(call: Call, topic: str | None) -> Reply:
    """Without a TOPIC: which there are. Of a verb it is what `VERB --help` says."""
    if topic is None:
        said = {name: what for name, (_, what) in TOPICS.items()}
        width = max(map(len, said))
        lines = [f"{name:<{width}}  {what}" for name, what in said.items()]
        text = "\n".join([*lines, "", f"or a verb: {', '.join(VERBS)}"])
        return Reply({"topics": said, "verbs": VERBS}, lambda page: page.line(text))
    text = _text(topic)
    return Reply({"topic": topic, "text": text}, lambda page: page.line(text.rstrip("\n")))


def _text(topic: str) -> str:
    if topic in TOPICS:
        return resources.files("backup_pipeline").joinpath(TOPICS[topic][0]).read_text(encoding="utf-8")
    top = click.Context(app, info_name="backup-pipeline")
    command = app.get_command(top, topic)
    if isinstance(command, Verb):
        return command.get_help(
            click.Context(command, info_name=topic, parent=top, **command.context_settings)
        )
    raise UsageError(
        f"there is no topic and no verb {topic!r}", remedy=f"there are {', '.join(TOPICS)}, and every verb"
    )
