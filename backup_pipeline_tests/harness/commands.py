"""`backup-pipeline` as a shell runs it: a process of its own, its two streams, its exit code."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backup_pipeline.cli import main

#: The console script, without depending on where pip put it.
PROGRAM = (sys.executable, "-c", "from backup_pipeline.cli import program; program()")


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The one JSON document; fails when there is anything else on stdout."""
        return json.loads(self.stdout)

    @property
    def data(self) -> Any:
        document = self.document
        assert document["ok"] is True, document
        return document["data"]

    @property
    def error(self) -> Any:
        document = self.document
        assert document["ok"] is False, document
        assert {"code", "message", "remedy"} == document["error"].keys()
        return document["error"]

    def __str__(self) -> str:
        return f"exit {self.code}\n── stdout\n{self.stdout}\n── stderr\n{self.stderr}"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of the developer's own: no colours, no configuration, no Dagster home."""
    mine = {"BACKUP_CONFIG", "DAGSTER_HOME", "NO_COLOR", "FORCE_COLOR", "DATABASE_URL"}
    kept = {name: value for name, value in os.environ.items() if name not in mine}
    return {**kept, "TERM": "dumb", **(extra or {})}


def run(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 120) -> Ended:
    done = subprocess.run(
        [*PROGRAM, *arguments],
        cwd=cwd,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def invoke(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
    """The same within this process, where neither signals nor file descriptors matter."""
    out, err = io.StringIO(), io.StringIO()
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environment(env))
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return Ended(code, out.getvalue(), err.getvalue())
