"""`demo`: a small shop is protected, broken and brought back, before your eyes."""

from __future__ import annotations

from pathlib import Path

import click

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply, tell


@as_verb(
    "demo",
    click.Option(
        ["--folder"], type=click.Path(file_okay=False, path_type=Path), default=Path("demo"), show_default=True,
        help="Where its configuration, vault and state go.",
    ),
    examples="""
    backup-pipeline demo
    backup-pipeline demo --folder /tmp/shop-demo
    """,
)  # fmt: skip
def verb(call: Call, folder: Path) -> Reply:
    """All of it happens on a real PostgreSQL server, which is started for it and thrown away."""
    from backup_pipeline.demo import run

    call.interrupted = lambda: f"the demo's server has ended; {folder} can be removed"

    def say(text: str) -> None:
        if not call.quiet:
            tell(call.stderr if call.json else call.stdout, call.redacted(text) + "\n")

    ending = run(folder, say=say)
    return Reply(ending, lambda page: None, answer=False)
