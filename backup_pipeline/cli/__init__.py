"""`backup-pipeline`: one file a verb.

Belongs here: the verbs, and the parts that they share. `app` is the command, `call` the input and output of a verb,
`ending` has errors, signals, exit codes and the one JSON document. `page` and `units` make text and figures for people,
`progress` shows moving work. Not here: decisions. A verb calls a function of `operations` and shows the answer.

A verb imports heavy libraries (pandas, DuckDB, Dagster, the drivers) when it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> int:
    from backup_pipeline.cli.ending import run

    return run(arguments)


def program() -> NoReturn:
    """The console script ends without the interpreter's own clean-up.

    A thread of Arrow or DuckDB that still runs then would abort the process: exit code 134 in the place of the true one.
    Workers, servers, locks and temporary files have ended by then, by the blocks that began them.
    """
    try:
        code = main()
    except KeyboardInterrupt:
        code = 130  # before there was anything to interrupt: the program was still being loaded
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            if stream is sys.stdout:  # a log whose reader is gone takes nothing away from the work
                code = code or 1  # the answer did not arrive: the reader is gone, or the disk is full
    os._exit(code)
