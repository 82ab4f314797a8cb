"""`backup-pipeline`: one file a verb, and around them

`app` the command and its verbs · `call` what every verb is handed and gives back · `ending` errors, signals, exit
codes and the one JSON document · `page` text for people · `units` figures for people · `progress` what moves.

A verb calls a method of `Project` and says how its answer looks; it decides nothing. Whatever is heavy (pandas,
DuckDB, Dagster, the drivers) is imported by the verb that needs it, when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    from backup_pipeline.cli.ending import run

    return run(arguments)
