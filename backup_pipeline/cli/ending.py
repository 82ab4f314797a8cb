"""How a call ends: the page or the one JSON document, the error and its remedy, the exit code.

Exit codes come from `errors`, and from nowhere else. After every exception, a script that asked for --json gets a
document, and no reader gets a password.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence

import click

from backup_pipeline.cli import acting, alerting, document
from backup_pipeline.cli.app import app
from backup_pipeline.cli.call import Call, Job, Reply, forget
from backup_pipeline.errors import BackupError, InternalError, Interrupted, Terminated, UsageError
from backup_pipeline.processes import interruption

#: What a shell sees of a program whose reader went away (`backup-pipeline list | head -1`).
BROKEN_PIPE = 141


def run(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    own = words[: words.index("--")] if "--" in words else words
    # Known before the command line is understood: a wrong one is answered in JSON, too.
    call = Call(
        json="--json" in own, quiet="-q" in own or "--quiet" in own, verbose="--verbose" in own or "-v" in own
    )
    with _signals() as heard:
        call.terminated = lambda: signal.SIGTERM in heard
        try:
            return _run(words, call)
        except BrokenPipeError:
            forget(sys.stdout)
            return BROKEN_PIPE


def _run(words: list[str], call: Call) -> int:
    try:
        job = app.main(words, prog_name="backup-pipeline", standalone_mode=False, obj=call)
    except click.exceptions.NoArgsIsHelpError as error:
        if not call.json:
            click.echo(error.format_message())
            return UsageError.exit_code
        return _fail(call, UsageError("there is no verb", remedy="backup-pipeline --help shows them"))
    except click.ClickException as error:
        return _fail(call, _usage(error))
    except (click.Abort, KeyboardInterrupt):
        return _fail(call, _interruption(call))
    if not isinstance(job, Job):
        return int(job or 0)  # --help and --version are answered while the line is read
    job.call.terminated = call.terminated
    return finish(job)


def finish(job: Job) -> int:
    """Do it, and say how it ended."""
    call = job.call
    teller = alerting.Teller(job) if alerting.is_wanted(job) else None
    if teller is not None:
        call.promise, call.tells = teller.promise, True
    failure: BackupError | None = None
    try:
        try:
            # What a library prints goes where notes go: stdout is for the answer alone.
            with contextlib.redirect_stdout(call.stderr):
                reply = acting.do(job)
            failure = reply.failure
            return _succeed(call, reply)
        except BrokenPipeError:
            raise
        except BackupError as error:
            failure = error
        except click.ClickException as error:
            failure = _usage(error)
        except (click.Abort, KeyboardInterrupt):  # a question that was not answered with yes is an Abort
            failure = _interruption(call)
        except Exception as error:  # noqa: BLE001 - the outermost frame: here it becomes an error with a code, for people and for JSON
            failure = _internal(error)
        return _fail(call, failure)
    finally:
        if teller is not None:
            teller.end(failure)


def _succeed(call: Call, reply: Reply) -> int:
    failed = reply.failure
    if call.json:
        body = document.failure(failed, reply.data) if failed else document.success(reply.data)
        if failed:
            body["error"] = {name: call.redacted(text) for name, text in body["error"].items()}
        document.write(body, call.stdout)
    elif reply.answer or failed or not call.quiet:
        page = call.page()
        reply.page(page)
        _print(call, str(page))
    if failed is None:
        return 0
    if not call.json:
        _explain(call, failed)
    return failed.exit_code


def _fail(call: Call, error: BackupError) -> int:
    if call.verbose and error.__traceback__ is not None:
        cause = error.__cause__ if isinstance(error, InternalError) and error.__cause__ else error
        call.say("".join(traceback.format_exception(cause)).rstrip())
    if call.json:
        shown = type(error)(call.redacted(error.message), remedy=call.redacted(error.remedy))
        document.write(document.failure(shown), call.stdout)
    else:
        _explain(call, error)
    return error.exit_code


def _explain(call: Call, error: BackupError) -> None:
    call.say(f"{error.code}: {error.message}", "red")
    if error.values and call.stderr.isatty():
        call.say(error.values)
    for index, line in enumerate(error.remedy.splitlines()):
        call.say(f"{'→ ' if index == 0 else '  '}{line}")


def _print(call: Call, text: str) -> None:
    try:
        call.stdout.write(text)
    except UnicodeEncodeError:
        call.stdout.write(text.encode("ascii", "backslashreplace").decode())
    call.stdout.flush()


def _usage(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    remedy = f"{context.command_path} --help shows how it is used" if context else "backup-pipeline --help"
    return UsageError(error.format_message(), remedy=remedy)


def _interruption(call: Call) -> Interrupted:
    kind = Terminated if call.terminated() else Interrupted
    try:
        state = call.interrupted()
    except BackupError as unknown:
        state = f"what it left behind cannot be seen: {unknown.message}"
    return kind(state, remedy="run it again when it suits")


def _internal(error: Exception) -> InternalError:
    first = (str(error).splitlines() or [""])[0]
    made = InternalError(
        f"{type(error).__name__}: {first}",
        remedy="this is a defect of backup-pipeline: run it again with --verbose, and report what it shows",
    )
    made.__cause__ = error
    made.__traceback__ = error.__traceback__
    return made


@contextlib.contextmanager
def _signals() -> Iterator[set[int]]:
    """SIGTERM takes the path of Ctrl-C: what cleans up on one (sessions, workers, locks) cleans up on the other.

    The interpreter writes each signal to a pipe as it arrives, also while the main thread waits in C; a thread at
    the other end cancels what is waited for. It also knows which signal it was: Dagster puts handlers of its own in,
    and makes one exception of both.
    """
    heard: set[int] = set()
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not the main thread: a caller with threads has handlers of its own
        yield heard
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def listen() -> None:
        while data := os.read(reader, 1):
            heard.update(data)
            if data[0] in (signal.SIGINT, signal.SIGTERM):
                interruption.cancel_all()

    listener = threading.Thread(target=listen, daemon=True, name="signals")
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    listener.start()
    try:
        yield heard
    finally:
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGTERM, before)
        os.close(writer)
        listener.join()
        os.close(reader)
