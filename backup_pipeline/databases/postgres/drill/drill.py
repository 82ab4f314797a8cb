"""A PostgreSQL drill, from the scratch database to the report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from backup_pipeline.databases import same_schema as definitions
from backup_pipeline.databases.base import DrillOptions, RestoreOptions
from backup_pipeline.databases.postgres.drill.rows import Compared, compare, open_session
from backup_pipeline.databases.postgres.drill.scratch import major_of, open_to_login, place, scratch_database
from backup_pipeline.databases.postgres.drill.surroundings import prove_surroundings
from backup_pipeline.databases.postgres.drill.writes import (
    check_invariants,
    compare_sequences,
    prove_writes,
    quieten,
)
from backup_pipeline.databases.postgres.export.inspect import inspect
from backup_pipeline.databases.postgres.export.session import row_encoding
from backup_pipeline.databases.postgres.restore.rules import qualified, rule_of
from backup_pipeline.databases.postgres.restore.run import restore
from backup_pipeline.databases.postgres.restore.statements import Statement
from backup_pipeline.databases.postgres.restore.target import Server
from backup_pipeline.databases.postgres.restore.terms import Terms
from backup_pipeline.databases.restore_plan import RestoreResult
from backup_pipeline.databases.same_schema import Lenience
from backup_pipeline.model.drill_report import DrillReport
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.model.schema import TableId, with_ancestors
from backup_pipeline.vault.backup import Backup


@dataclass
class Drill:
    """One drill under way."""

    backup: Backup
    listener: Listener
    jobs: int
    findings: list[Finding] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def drill(backup: Backup, options: DrillOptions, listener: Listener) -> DrillReport:
    begin = time.monotonic()
    work = Drill(backup, listener, options.jobs)
    # A drill leaves nothing on a server that it was given.
    terms = Terms(make_owners=False, surroundings=False, trusted=False)
    with place(backup.manifest, options.scratch_url) as where:
        work.findings += where.findings
        moment = options.now or datetime.now(UTC)
        with scratch_database(where, work.backup.schema, moment) as (server, findings):
            work.findings += findings
            result = restore(backup, server, RestoreOptions(jobs=options.jobs, terms=terms), listener)
            _prove(work, server, result, options.invariants)
            version, address = result.plan.target_version, where.server.address
    return DrillReport(
        report=Report(
            subject=str(backup),
            findings=tuple(work.findings),
            counted=work.counted,
            seconds=time.monotonic() - begin,
        ),
        recovery_seconds=result.seconds["total"],
        scratch=f"PostgreSQL {version} at {'a private server' if options.scratch_url is None else address}",
        seconds={**result.seconds, **work.seconds},
    )


def _prove(work: Drill, server: Server, result: RestoreResult, invariants: Mapping[str, str]) -> None:
    outlived = dict(_outlived(result))
    work.findings += [replace(one, severity="warning") if one in outlived else one for one in result.findings]
    work.findings += _say_not_tried(result)
    roles_missing = any(finding.marked("role_missing") for finding in result.findings)
    left_out = frozenset(TableId(left.schema, left.name) for left in work.backup.manifest.left_out)
    lenience = Lenience(
        left_out=left_out,
        hollow=frozenset(with_ancestors(dict.fromkeys(left_out, ""), work.backup.schema)),
        roles_missing=roles_missing,
        not_tried=_not_tried(result),
        broken=frozenset(outlived.values()),
        other_version=major_of(result.plan.target_version) != major_of(work.backup.manifest.engine.version),
    )
    absent = _definitions(work, server, lenience)
    open_to_login(server)
    quieten(server)
    _rows(work, server)
    _writes(work, server, invariants, absent)
    work.findings += prove_surroundings(server.by_superuser, work.backup.schema, lenience)


def _outlived(result: RestoreResult) -> Iterator[tuple[Finding, tuple[TableId, str]]]:
    """CHECKs of tables that came back NOT VALID, with every row. A restore is not what was asked for; the backup is proven."""
    left = {one.sql for one in result.remainder}
    for one in result.findings:
        if not one.marked("rule_broken") or one.table is None or not one.examples:
            continue
        rule = rule_of(Statement(one.examples[0].removesuffix(";"), 1))
        if rule is not None and rule.kind == "check" and rule.statement.text not in left:
            yield one, (rule.table, rule.name)


def _not_tried(result: RestoreResult) -> frozenset[tuple[str | None, str]]:
    """What a drill does not make or fill, because code of the source would run or another server be asked: by schema and
    name."""
    found: set[tuple[str | None, str]] = set()
    for left in result.remainder:
        tokens = Statement(left.sql, 1).tokens(12)
        if left.asked and tokens[1].is_word("event"):
            found.add((None, tokens[3].text))
        elif left.asked and tokens[0].is_word("create", "refresh"):
            at = next(i for i, t in enumerate(tokens) if t.is_word("view", "function", "procedure")) + 1
            name, _ = qualified(tokens, at)
            found.add((name.schema, name.name))
    return frozenset(found)


def _say_not_tried(result: RestoreResult) -> Iterator[Finding]:
    asked = [left for left in result.remainder if left.asked]
    if asked:
        yield Finding.of(
            "not-proven", count=len(asked), examples=(f"{left.what}: {left.reason}" for left in asked[:20])
        )


def _definitions(work: Drill, server: Server, lenience: Lenience) -> frozenset[TableId]:
    """Compares the schemas; returns the tables that are not there, and need not be."""
    begin = time.monotonic()
    work.listener(Advance("compare", "definitions"))
    connection = open_session(server.by_superuser)
    try:
        found = inspect(connection).schema
    finally:
        connection.close()
    work.findings += definitions.compare(work.backup.schema, found, lenience)
    if lenience.roles_missing:
        work.findings.append(Finding.of("rights-not-compared"))
    work.counted |= {
        "columns": sum(len(table.columns) for table in found.tables),
        "constraints": sum(
            len(t.foreign_keys) + len(t.uniques) + len(t.checks) + (t.primary_key is not None)
            for t in found.tables
        ),
        "indexes": sum(len(table.indexes) for table in found.tables),
        "definitions": len(found.objects),
    }
    work.seconds["compare definitions"] = time.monotonic() - begin
    return lenience.left_out - {table.id for table in found.tables}


def _rows(work: Drill, server: Server) -> None:
    begin = time.monotonic()
    encoding = row_encoding(work.backup.schema.settings.get("encoding", "UTF8"))
    outcome: Compared = compare(work.backup, server, encoding, jobs=work.jobs, listener=work.listener)
    work.findings += outcome.findings
    work.counted |= {"tables": outcome.tables, "rows": outcome.rows}
    if outcome.rows == 0:
        work.findings.append(Finding.of("nothing-in-it", tables=outcome.tables))
    work.seconds["compare rows"] = time.monotonic() - begin


def _writes(work: Drill, server: Server, invariants: Mapping[str, str], absent: frozenset[TableId]) -> None:
    begin = time.monotonic()
    work.listener(Advance("compare", "sequences, invariants, writes"))
    with server.open() as connection:
        work.findings += compare_sequences(connection, work.backup.manifest.sequences)
        # As the application asks and writes: by the login's own settings.
        connection.execute("RESET search_path")
        work.findings += check_invariants(connection, invariants)
        written = prove_writes(connection, work.backup.schema, absent)
    work.findings += written.findings
    proven = sum(written.how.values())
    work.counted |= {
        "sequences": len(work.backup.manifest.sequences),
        "invariants": len(invariants),
        "writes": proven,
    }
    if proven:
        ways = ", ".join(f"{count} by {way}" for way, count in sorted(written.how.items()))
        work.findings.append(Finding.of("writes-work", proven=proven, ways=ways))
    work.seconds["write"] = time.monotonic() - begin
