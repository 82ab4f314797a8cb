"""`ui`: the Dagster UI and daemon over this configuration."""

from __future__ import annotations

import os
from pathlib import Path

import click

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply


@as_verb(
    "ui",
    click.Option(
        ["--host"],
        default="127.0.0.1",
        show_default=True,
        help="The address to listen on; the UI has no login.",
    ),
    click.Option(["--port"], type=click.IntRange(1, 65535), default=3000, show_default=True),
    examples="""
    backup-pipeline ui
    backup-pipeline --config /etc/backup/backup.yaml ui --port 3333
    """,
)
def verb(call: Call, host: str, port: int) -> Reply:
    """Ctrl-C ends both. The instance lies under the state folder, where `backup` and `drill` record, too ($DAGSTER_HOME names another)."""
    from backup_pipeline.config import locate
    from backup_pipeline.orchestration.ui import serve

    call.interrupted = lambda: "the UI and the daemon have ended"
    file = locate(call.config, os.environ, Path.cwd())
    serve(call.site, host, port, config=file, say=call.note)
    return Reply({"host": host, "port": port}, lambda page: None, answer=False)
