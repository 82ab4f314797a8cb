"""The definitions, by pg_dump on the exported snapshot: run once, then rendered section by section.

pg_dump is a program of others: its exit code, its words and the end of its output are all looked at. A truncated dump
that passes for a whole one is found on the worst day.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from backup_pipeline.databases.postgres.export import connect
from backup_pipeline.databases.postgres.server import Program
from backup_pipeline.errors import PermissionMissing, SourceError, SourceUnavailable, ToolMissing
from backup_pipeline.model.schema import SchemaObject, TableId

Sections = tuple[tuple[str, str, bytes], ...]

SECTIONS = ("pre-data", "post-data")
_END = b"-- PostgreSQL database dump complete"
# Since August 2025 pg_dump begins its text with \restrict and ends it with \unrestrict, which make psql refuse its own
# commands in between. Their key is another one at each run, so the same definitions would be stored anew each night;
# and a psql from before that stops at the unknown command. So both lines are taken out. They guard against a hostile
# server whose answers hold psql commands. `databases.postgres.restore.screening` refuses such a text before it is
# stored, and RECOVER.md has a guard of its own.
_RESTRICT = re.compile(rb"\A((?:--[^\n]*\n|\n)*)\\restrict ([A-Za-z0-9]+)\n")

# A pg_dump of version 17 or newer begins with this for every server. An older server knows no such setting: with
# psql, as RECOVER.md has it, the first statements would fail on the very server of the backup.
_TRANSACTION_TIMEOUT = re.compile(rb"\A((?:--[^\n]*\n|\n|SET [^\n]*\n)*?)SET transaction_timeout = 0;\n")


def dump(
    program: Program,
    parameters: Mapping[str, str],
    exported: str,
    encoding: str,
    lock_timeout: float,
    without: Sequence[str] = (),
) -> Sections:
    """(section, made by, SQL) of everything but `without`: options of pg_dump that leave something out."""
    with tempfile.TemporaryDirectory(prefix="bp-ddl-") as folder:
        archive = Path(folder, "schema.dump")
        argv = [
            str(program.path),
            "--schema-only",
            "--format=custom",
            "--compress=0",
            f"--snapshot={exported}",
            f"--encoding={encoding}",
            f"--lock-wait-timeout={int(lock_timeout * 1000)}",
            "--no-password",
            f"--file={archive}",
            *without,
            f"--dbname={conninfo(parameters)}",
        ]
        _run(argv, "pg_dump", environment(parameters))
        sections = ((name, _render(program, archive, name)) for name in SECTIONS)
        return tuple((name, made_by(program), text) for name, text in sections)


def with_rights_of_public(
    sections: Sections, objects: Sequence[SchemaObject], renamed: str | None
) -> Sections:
    """pg_dump leaves out the rights that initdb gave, and knows them by the schema's number: of a `public` that was
    renamed (`renamed`) everybody's USAGE would be lost. A right that is given twice is the same right."""
    lost = "".join(
        f"{item.definition}\n"
        for item in objects
        if (item.kind, item.schema, item.name) == ("grant", None, renamed)
    )
    more = f"SET client_encoding = 'UTF8';\n{lost}".encode() if lost else b""
    return tuple((name, made, text + more if name == "post-data" else text) for name, made, text in sections)


def with_tables(
    sections: Sections, definitions: tuple[str, str], tables: Sequence[TableId], encoding: str
) -> Sections:
    """Puts in tables that pg_dump had to leave out (`reflection.of_tables`): before the first statement that speaks of one of
    them (or of their sequences), and what belongs to them at the end."""
    names = "|".join(rf"{_spelled(table.schema)}\.{_spelled(table.name)}" for table in tables)
    speaks = re.compile(rf'(?<![\w."$])(?:{names})(?![\w"$])'.encode())
    first, last = (
        f"\nSET client_encoding = 'UTF8';\n{text}\nSET client_encoding = '{encoding}';\n".encode()
        for text in definitions
    )

    def put(name: str, text: bytes) -> bytes:
        found = speaks.search(text) if name == "pre-data" else None
        at = text.rfind(b"\n--\n-- Name: ", 0, found.start()) if found else -1
        if at >= 0:
            return text[:at] + first + text[at:]
        return text + (first if name == "pre-data" else last)

    return tuple((name, made, put(name, text)) for name, made, text in sections)


def _spelled(name: str) -> str:
    """Quoted only where it must be."""
    quotes = '"?' if re.fullmatch(r"[a-z_][a-z0-9_$]*", name) else '"'
    return quotes + re.escape(name.replace('"', '""')) + quotes


def made_by(program: Program) -> str:
    return f"pg_dump {program.version[0]}.{program.version[1]}"


def conninfo(parameters: Mapping[str, str]) -> str:
    """As libpq writes it, and without a secret: every user of the machine can read a command line."""
    pairs = {"connect_timeout": "15", "application_name": "backup_pipeline", **connect.public(parameters)}
    return " ".join(f"{key}='{_escaped(value)}'" for key, value in pairs.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def environment(parameters: Mapping[str, str]) -> dict[str, str]:
    """The password for the child alone, and none of the settings that could change what it prints."""
    if "sslpassword" in parameters:
        raise ToolMissing(
            "pg_dump can only be given the password of a client key on its command line, where everybody can read it",
            remedy="use a client key without a password, readable only by the user that runs backups",
        )
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PGOPTIONS", "PGCLIENTENCODING", "PGDATABASE")
    }
    kept |= {"LC_ALL": "C", "PGTZ": "UTC"}
    if "password" in parameters:
        kept["PGPASSWORD"] = parameters["password"]
    return kept


def _run(argv: list[str], name: str, env: Mapping[str, str]) -> bytes:
    done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, env=dict(env))
    said = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode == 0:
        return done.stdout
    last = said.splitlines()[-1] if said else f"exit code {done.returncode}"
    text = f"{name} failed: {said[-2000:] or last}"
    # pg_dump's --lock-wait-timeout is a statement timeout while it locks.
    if "lock timeout" in said or "statement timeout" in said or "could not obtain lock" in said:
        raise SourceUnavailable(
            text, remedy="wait until the other session has finished, then run the backup again"
        )
    if "permission denied" in said:
        raise PermissionMissing(text, remedy="`doctor` prints the GRANTs that are missing")
    if any(
        sign in said
        for sign in ("server closed the connection", "shutting down", "starting up", "Connection refused")
    ):
        raise SourceUnavailable(
            text, remedy="the backup is tried again; if this goes on, look at the server's log"
        )
    raise SourceError(text, remedy="run the same pg_dump --schema-only by hand to see what it cannot dump")


def _render(program: Program, archive: Path, section: str) -> bytes:
    restore = program.path.with_name("pg_restore")
    text = _run(
        [str(restore), f"--section={section}", "--file=-", str(archive)],
        "pg_restore",
        {**os.environ, "LC_ALL": "C"},
    )
    if not text.rstrip().endswith(_END) and _END not in text[-400:]:
        raise SourceError(
            f"the output of pg_restore for {section} ends too early ({len(text)} bytes)",
            remedy="see whether the temporary folder is full",
        )
    return unrestricted(text)


def for_server(sections: Sections, version: int) -> Sections:
    """Without what the server itself would not take. Only the settings above the definitions are touched."""
    if version >= 170000:
        return sections
    return tuple(
        (name, made, _TRANSACTION_TIMEOUT.sub(rb"\1", text, count=1)) for name, made, text in sections
    )


def unrestricted(text: bytes) -> bytes:
    """Only the pair that pg_dump put around its text: a function's body may hold lines that look the same."""
    begun = _RESTRICT.match(text)
    if begun is None:
        return text
    ending = re.compile(rb"\n\\unrestrict " + begun[2] + rb"\s*\Z")
    return ending.sub(b"\n", begun[1] + text[begun.end() :])
