"""The checks before a restore: reads the backup and the target, plans the restore, and finds the reasons to refuse it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from backup_pipeline.databases.base import RestoreOptions
from backup_pipeline.databases.postgres.export import versions
from backup_pipeline.databases.postgres.export.session import row_encoding
from backup_pipeline.databases.postgres.restore import definers
from backup_pipeline.databases.postgres.restore.definers import Definers
from backup_pipeline.databases.postgres.restore.definitions import Facts
from backup_pipeline.databases.postgres.restore.failure import explained
from backup_pipeline.databases.postgres.restore.own_names import own_path
from backup_pipeline.databases.postgres.restore.rules import qualified
from backup_pipeline.databases.postgres.restore.runner import Runner, combined
from backup_pipeline.databases.postgres.restore.screening import to_be_set
from backup_pipeline.databases.postgres.restore.statements import Statement, split
from backup_pipeline.databases.postgres.restore.surroundings import missing_roles, roles_foreseen
from backup_pipeline.databases.postgres.restore.target import Connection, Server, not_empty, what_is_there
from backup_pipeline.databases.postgres.restore.terms import Terms, code_of
from backup_pipeline.databases.postgres.restore.untrusted import extensions_first
from backup_pipeline.databases.restore_plan import (
    SMALL,
    RestorePlan,
    SectionPlan,
    missing_objects,
    table_plans,
    without_rows,
)
from backup_pipeline.errors import BackupError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.schema import Schema, TableId
from backup_pipeline.vault.backup import Backup


@dataclass(frozen=True)
class Prepared:
    """Everything that was read and asked before the first change."""

    plan: RestorePlan
    server: Server
    schema: Schema
    sections: Mapping[str, tuple[Statement, ...]]
    facts: Facts
    terms: Terms
    definers: Definers
    #: Tables that are made without rows, and why this backup has none of theirs.
    without_rows: Mapping[TableId, str]

    @property
    def encoding(self) -> str:
        """In which the rows and the definitions are written."""
        return row_encoding(self.schema.settings.get("encoding", "UTF8"))


def prepare(backup: Backup, server: Server, options: RestoreOptions) -> Prepared:
    jobs = options.jobs
    server = replace(server, application=f"backup_pipeline restore {secrets.token_hex(4)}")
    manifest, schema = backup.manifest, backup.schema
    terms = replace(options.terms or Terms(), path=own_path(schema))
    sections = _sections(backup, trusted=terms.trusted)
    terms = replace(terms, partial=bool(_undefined(manifest, schema, sections)))
    refused = list(_holes(backup))
    exists = server.exists()
    with server.open() if exists else server.maintenance() as connection:
        version = connection.info.server_version
        facts = Facts.of(connection, with_superuser=server.superuser is not None)
        findings = list(_differences(manifest, schema, connection, exists))
        for finding in versions.outside(version):
            (refused if finding.severity == "error" else findings).append(finding)
        if exists:
            there = what_is_there(connection)
            if there:
                refused.append(not_empty(server, there))
        else:
            facts = replace(facts, schemas=_TEMPLATE_SCHEMAS, installed=frozenset({"plpgsql"}))
            refused += _cannot_make(server, connection, options.create)
        findings += roles_foreseen(schema, facts, terms)
        if terms.roles:
            to_make = frozenset(missing_roles(schema, facts))
            facts = replace(facts, roles=facts.roles | to_make, assumable=facts.assumable | to_make)
        definer = Definers.of(
            s for s in chain.from_iterable(sections.values()) if terms.leave_out(s) != "code"
        )
        findings += definers.foreseen(facts, definer, terms)
        runner = Runner(connection, definers.with_owners(facts, definer, terms), terms, definer)
        skipped, lacking = _foresee(runner, sections)
    kept = {entry.id for entry in manifest.tables}
    without = tuple(table.id for table in schema.tables if table.has_rows and table.id not in kept)
    findings += [*skipped, *_rows_missing(manifest, without), *to_be_set(manifest.findings)]
    alone, why = _transaction(sum(entry.bytes for entry in manifest.tables), jobs, facts, sections)
    made = RestorePlan(
        system=manifest.system,
        backup_id=manifest.id,
        engine="postgres",
        backup_version=manifest.engine.version,
        target_version=_version(version),
        target=server.address,
        create=not exists,
        strategy="bulk",
        why=f"the target is {'new' if not exists else 'empty'}; {why}",
        one_transaction=alone,
        jobs=1 if alone else jobs,
        tables=table_plans(manifest, without),
        sections=tuple(
            SectionPlan(section.name, len(sections[section.name]), section.made_by)
            for section in manifest.ddl
        ),
        sequences=len(manifest.sequences),
        code=code_of(chain.from_iterable(sections.values())) if terms.code else {},
        findings=tuple(findings),
        refused=(*refused, *lacking),
    )
    reasons = {table.table: table.note for table in made.tables if table.action == "no rows here"}
    return Prepared(made, server, schema, sections, facts, terms, definer, reasons)


def _sections(backup: Backup, *, trusted: bool) -> dict[str, tuple[Statement, ...]]:
    found = {
        section.name: split(backup.vault.content(section.object).decode("utf-8", "surrogateescape"))
        for section in backup.manifest.ddl
    }
    return {name: tuple(each if trusted else extensions_first(each)) for name, each in found.items()}


def _undefined(
    manifest: Manifest, schema: Schema, sections: Mapping[str, tuple[Statement, ...]]
) -> frozenset[TableId]:
    """Tables that were left out of the definitions as well: an older version did that where the login might not read them."""
    left = {TableId(left.schema, left.name) for left in manifest.left_out}
    left &= {table.id for table in schema.tables}
    if not left:
        return frozenset()
    for statement in sections.get("pre-data", ()):
        tokens = statement.tokens(10) if statement.text[:7].lower() == "create " else []
        at = next((at for at, token in enumerate(tokens) if token.is_word("table")), 0)
        if at:
            left.discard(qualified(tokens, at + 1)[0])
    return frozenset(left)


_TEMPLATE_SCHEMAS = frozenset({"public", "pg_catalog", "information_schema", "pg_toast"})


def _version(number: int) -> str:
    return f"{number // 10000}.{number % 10000}"


def _holes(backup: Backup) -> Iterator[Finding]:
    manifest = backup.manifest
    if not any(section.name == "pre-data" for section in manifest.ddl):
        yield Finding.of("no-definitions", manifest=manifest.id)
    yield from missing_objects(backup)
    for entry in manifest.tables:
        if entry.rows != sum(chunk.rows for chunk in entry.chunks):
            yield Finding.of(
                "row-count/plan",
                table=entry.id,
                rows=entry.rows,
                count=sum(chunk.rows for chunk in entry.chunks),
            )


def _differences(
    manifest: Manifest, schema: Schema, connection: Connection, exists: bool
) -> Iterator[Finding]:
    """What the target's server or database is not, compared with the one that was backed up."""
    ours, theirs = manifest.engine.version, connection.info.server_version // 10000
    major = int(ours.split(".")[0]) if ours.split(".")[0].isdigit() else theirs
    if theirs < major:
        yield Finding.of("older-server", ours=ours, version=_version(connection.info.server_version))
    elif theirs > major:
        yield Finding.of("newer-server", ours=ours, version=_version(connection.info.server_version))
    if not exists:
        return
    row = connection.execute(
        "SELECT pg_catalog.pg_encoding_to_char(encoding), datcollate FROM pg_catalog.pg_database"
        " WHERE datname = pg_catalog.current_database()"
    ).fetchone()
    assert row is not None
    for name, key, value in (("encoding", "encoding", row[0]), ("collation", "collation", row[1])):
        wanted = schema.settings.get(key)
        if wanted and wanted != value:
            yield Finding.of(f"{name}-differs", wanted=wanted, value=value)


def _cannot_make(server: Server, connection: Connection, create: bool) -> Iterator[Finding]:
    if not create:
        yield Finding.of("no-database", server=server.address)
        return
    with explained("asking the target for our rights"):
        row = connection.execute(
            "SELECT rolsuper OR rolcreatedb, rolname FROM pg_catalog.pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row is not None
    if not row[0]:
        yield Finding.of("may-not-create", server=server.address, row=row[1])


def _foresee(
    runner: Runner, sections: Mapping[str, tuple[Statement, ...]]
) -> tuple[tuple[Finding, ...], list[Finding]]:
    """(what would be skipped, what cannot be done at all)."""
    lacking: dict[str, Finding] = {}
    for statements in sections.values():
        for statement in statements:
            try:
                verdict = runner.decide(statement)
            except BackupError as error:
                lacking.setdefault(
                    error.message,
                    Finding.of("extension-missing", why=error.message, remedy=error.remedy),
                )
                continue
            if verdict.action == "skip":
                runner.note(verdict, statement)
    return combined(runner.findings()), list(lacking.values())


def _rows_missing(manifest: Manifest, without: tuple[TableId, ...]) -> Iterator[Finding]:
    if without:
        yield without_rows(without)
    for left in manifest.left_out:
        if TableId(left.schema, left.name) not in without:
            yield Finding.of(
                "left-out", kind=left.kind, schema=left.schema, left=left.name, reason=left.reason
            )


def _transaction(
    size: int, jobs: int, facts: Facts, sections: Mapping[str, tuple[Statement, ...]]
) -> tuple[bool, str]:
    if not locks_fit(facts, sections):
        return False, "too many tables for the server's lock table to be made in one transaction"
    if size < SMALL:
        return True, "small enough for one transaction"
    if jobs <= 1:
        return True, "one transaction, because one job was asked for"
    return False, f"{jobs} jobs, each with its own session"


def locks_fit(facts: Facts, sections: Mapping[str, tuple[Statement, ...]]) -> bool:
    """Every table and index that a transaction makes stays locked until its end; a table has a TOAST table with an index."""
    return sum(map(_locks_of, chain.from_iterable(sections.values()))) < facts.max_locks * 0.6


def _locks_of(statement: Statement) -> int:
    head = statement.text[:40].lower()
    return (4 if head.startswith(("create table", "create materialized")) else 0) + (
        1 if head.startswith(("create ", "alter table only")) else 0
    )


def transactions(facts: Facts, statements: Iterable[Statement]) -> Iterator[list[Statement]]:
    """The statements in their order, as many at a time as fit into the lock table."""
    some: list[Statement] = []
    locks = 0
    for statement in statements:
        # What makes nothing may lock a table all the same.
        cost = max(_locks_of(statement), 1)
        if some and locks + cost > facts.max_locks * 0.6:
            yield some
            some, locks = [], 0
        some.append(statement)
        locks += cost
    if some:
        yield some
