"""A command of the user is run: its streams are ours, and it hears Ctrl-C as we do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

from backup_pipeline.errors import CommandFailed, UsageError


def run(
    command: Sequence[str], *, terminated: Callable[[], bool], stdout: int | None = None
) -> CommandFailed | None:
    """No shell reads the words. None: it ended with 0. `stdout`: where its output goes instead."""
    try:
        process = subprocess.Popen(list(command), stdout=stdout)
    except OSError as error:
        raise UsageError(
            f"{command[0]} cannot be run: {error.strerror}",
            remedy="write the command as a shell would find it",
        ) from None
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            # Ctrl-C reaches both of us, and SIGTERM reaches us alone. What the command has done is still to be compared.
            if terminated():
                process.terminate()
    return None if code == 0 else CommandFailed.with_code(command[0], 128 - code if code < 0 else code)
