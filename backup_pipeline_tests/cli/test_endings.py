"""How a call ends: one JSON document at each end, exit codes from the errors, no secret anywhere."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from backup_pipeline.cli import app, ending
from backup_pipeline.cli.call import Call, Job, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.errors import BackupError, Damaged, InternalError, ProofFailed, UsageError
from backup_pipeline_tests.harness.commands import PROGRAM, environment, run

MARKER = "hunter2-Marker"


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--json"], "usage", "Missing command"),
        (["--json", "frobnicate"], "usage", "frobnicate"),
        (["statsu", "--json"], "usage", "Did you mean 'status'?"),
        (["--json", "show"], "usage", "SYSTEM"),
        (["backup", "shop", "--json", "--fulll"], "usage", "--full"),
        (["backup", "shop", "--kind", "odd", "--json"], "usage", "odd"),
        (["restore", "shop", "--json"], "usage", "--to"),
        (["list", "--json"], "config", "no configuration"),
        (["--json", "list"], "config", "no configuration"),
        (["init", "--database", "mysql://h/d", "--json"], "config", "mysql"),
    ],
)
def test_every_mistake_is_one_json_document(
    arguments: list[str], code: str, word: str, tmp_path: Path
) -> None:
    ended = run(*arguments, cwd=tmp_path)
    assert ended.code == 2
    assert ended.error["code"] == code
    assert word in ended.error["message"]
    assert ended.error["remedy"]
    assert ended.stderr == ""


def test_a_mistake_is_said_to_people_with_what_to_do(tmp_path: Path) -> None:
    ended = run("statsu", cwd=tmp_path)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == (
        "usage: There is no verb 'statsu'. Did you mean 'status'?\n"
        "→ backup-pipeline --help shows how it is used\n"
    )


@pytest.mark.parametrize("arguments", [["--version"], ["list", "--version"]])
def test_the_version_stands_before_and_after_the_verb(arguments: list[str], tmp_path: Path) -> None:
    ended = run(*arguments, cwd=tmp_path)
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.startswith("backup-pipeline 0.")
    assert run(*arguments, "--json", cwd=tmp_path).data == {"version": ended.stdout.split()[1]}


@pytest.mark.parametrize("verb", list(app.VERBS))
def test_every_verb_has_help_with_examples_and_the_options_of_all(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending.run([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    examples = [line for line in shown.partition("Examples:")[2].splitlines() if "backup-pipeline" in line]
    assert 2 <= len(examples) <= 4
    assert all(f" {verb}" in line for line in examples)
    for option in ("--config", "--json", "--quiet", "--verbose", "--version"):
        assert option in shown
    assert " ".join(app.VERBS[verb].split()) in " ".join(shown.split())


def test_the_options_count_before_and_after_the_verb() -> None:
    for arguments in (
        ["--config", "x", "--json", "-q", "-v", "list"],
        ["list", "--config", "x", "--json", "-q", "-v"],
    ):
        job = app.app.main(arguments, standalone_mode=False)
        call = job.call
        assert (call.config, call.json, call.quiet, call.verbose) == ("x", True, True, True)


def ended_by(deed: object, capsys: pytest.CaptureFixture[str], **options: bool) -> tuple[int, str, str]:
    call = Call(**options)  # type: ignore[arg-type]
    call.hide(f"postgresql://app:{MARKER}@db/shop")
    code = ending.finish(Job("test", call, deed, {}))  # type: ignore[arg-type]
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def raising(error: BaseException) -> object:
    def deed(_: Call) -> Reply:
        raise error

    return deed


def every(kind: type[BackupError]) -> list[type[BackupError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in every(child))]


@pytest.mark.parametrize("kind", every(BackupError))
def test_every_error_ends_with_its_own_code(
    kind: type[BackupError], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = ended_by(raising(kind("it broke", remedy="mend it")), capsys, json=True)
    assert code == kind.exit_code
    assert json.loads(out) == {
        "ok": False,
        "error": {"code": kind.code, "message": "it broke", "remedy": "mend it"},
    }


def test_an_unexpected_exception_is_internal_and_shows_its_traceback_only_when_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = ended_by(raising(ZeroDivisionError("oops")), capsys, json=True)
    assert code == InternalError.exit_code
    error = json.loads(out)["error"]
    assert (error["code"], error["message"]) == ("internal", "ZeroDivisionError: oops")
    assert "--verbose" in error["remedy"]
    assert err == ""
    _, out, err = ended_by(raising(ZeroDivisionError("oops")), capsys, json=True, verbose=True)
    assert json.loads(out)["ok"] is False
    assert "Traceback" in err
    assert "ZeroDivisionError: oops" in err


def test_no_secret_leaves_by_an_error_or_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (
        ValueError(f"cannot open postgresql://app:{MARKER}@db/shop"),
        ValueError(f"password {MARKER} is wrong"),
        Damaged(f"at {MARKER}", remedy=f"use {MARKER}"),
    ):
        for as_json in (True, False):
            _, out, err = ended_by(raising(error), capsys, json=as_json, verbose=True)
            assert MARKER not in out + err
            assert "***" in out + err


def test_what_a_library_prints_does_not_get_into_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    def deed(_: Call) -> Reply:
        print("hello from a library")
        return Reply({"n": 1}, lambda page: None)

    code, out, err = ended_by(deed, capsys, json=True)
    assert code == 0
    assert json.loads(out) == {"ok": True, "data": {"n": 1}}
    assert "hello from a library" in err


def test_a_bad_finding_shows_the_report_first_and_then_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def deed(_: Call) -> Reply:
        def page(page: Page) -> None:
            page.line("the report")

        return Reply({"rows": 3}, page, ProofFailed("a row differs", remedy="look"), answer=False)

    code, out, err = ended_by(deed, capsys)
    assert (code, out) == (ProofFailed.exit_code, "the report\n")
    assert err == "proof-failed: a row differs\n→ look\n"
    code, out, err = ended_by(deed, capsys, quiet=True)
    assert out == "the report\n"
    code, out, err = ended_by(deed, capsys, json=True)
    assert (code, err) == (ProofFailed.exit_code, "")
    document = json.loads(out)
    assert document["ok"] is False
    assert document["error"]["code"] == "proof-failed"
    assert document["data"] == {"rows": 3}


def test_quiet_keeps_answers_and_drops_reports_of_what_went_well(capsys: pytest.CaptureFixture[str]) -> None:
    def deed(answer: bool) -> object:
        return lambda _: Reply({}, lambda page: page.line("text"), answer=answer)

    assert ended_by(deed(True), capsys, quiet=True)[1] == "text\n"
    assert ended_by(deed(False), capsys, quiet=True)[1] == ""


def test_a_reader_that_went_away_is_not_a_defect(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*PROGRAM, "list", "--json"],
        cwd=tmp_path, env=environment(), stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (ending.BROKEN_PIPE, "")


def test_help_needs_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom backup_pipeline.cli import main\nmain(sys.argv[1:])\n"
        "print([name for name in ('pandas', 'dagster', 'duckdb', 'pydantic', 'psycopg2', 'rich', 'yaml')"
        " if name in sys.modules], file=sys.stderr)"
    )
    for arguments in (["--help"], ["backup", "--help"], ["list", "--help"], ["query", "--help"]):
        done = subprocess.run(
            [PROGRAM[0], "-c", code, *arguments],
            cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stderr.strip() == "[]", arguments


def test_the_exit_codes_in_help_are_those_of_the_errors() -> None:
    codes = {kind.exit_code for kind in every(BackupError)}
    # 143 stands beside 130, in one line.
    assert codes - {143} == app.EXIT_CODES.keys() - {0}
    assert UsageError.exit_code == 2
