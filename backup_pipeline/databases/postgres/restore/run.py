"""The conductor: definitions, rows, indexes and keys, foreign keys, the rest, the finish.

A small restore is one transaction on one connection. A large one is many transactions on many connections, so it
remembers what it made and removes that when it fails, Ctrl-C included.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from backup_pipeline.databases.base import RestoreOptions
from backup_pipeline.databases.postgres.restore import definers, finish, post_data, rows, surroundings, tables
from backup_pipeline.databases.postgres.restore.definitions import Facts
from backup_pipeline.databases.postgres.restore.failure import explained
from backup_pipeline.databases.postgres.restore.post_data import Make, Schedule
from backup_pipeline.databases.postgres.restore.preflight import locks_fit, prepare, transactions
from backup_pipeline.databases.postgres.restore.refused import Loader
from backup_pipeline.databases.postgres.restore.remainder import Left
from backup_pipeline.databases.postgres.restore.rows import Load, Piece
from backup_pipeline.databases.postgres.restore.runner import Runner, combined
from backup_pipeline.databases.postgres.restore.statements import Statement
from backup_pipeline.databases.postgres.restore.target import (
    Connection,
    Server,
    create_database,
    drop_database,
    prepare_session,
    set_comment,
)
from backup_pipeline.databases.postgres.restore.terms import is_owner
from backup_pipeline.databases.postgres.restore.undo import strangers, take_back
from backup_pipeline.databases.postgres.restore.untrusted import UntrustedRunner
from backup_pipeline.databases.postgres.restore.work import Work
from backup_pipeline.databases.postgres.restore.worker import FACTORY, Analyze, Moved, Setup, speed_up
from backup_pipeline.databases.restore_plan import RestorePlan, RestoreResult
from backup_pipeline.errors import RestoreError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.progress import Listener
from backup_pipeline.processes.workers import Pool
from backup_pipeline.vault.backup import Backup


class _DryRun(Exception):
    """Leaves the transaction, and takes everything with it."""


@dataclass(frozen=True, slots=True)
class PostgresTarget:
    url: str

    def plan(self, backup: Backup, options: RestoreOptions) -> RestorePlan:
        return prepare(backup, Server.of(self.url), options).plan

    def restore(self, backup: Backup, options: RestoreOptions, listener: Listener) -> RestoreResult:
        return restore(backup, Server.of(self.url), options, listener)


def restore(backup: Backup, server: Server, options: RestoreOptions, listener: Listener) -> RestoreResult:
    begin = time.monotonic()
    prepared = prepare(backup, server, options)
    prepared.plan.raise_if_refused()
    dry_run = options.dry_run
    work = Work(backup, prepared, listener, prepared.facts, dry_run)
    if dry_run and prepared.plan.create:
        work.findings.append(_not_proven("the database does not exist, and a dry run makes none"))
    elif dry_run and not locks_fit(prepared.facts, prepared.sections):
        work.findings.append(_not_proven("its definitions do not fit into one transaction"))
    else:
        about = (prepared.server, prepared.schema, prepared.terms)
        with surroundings.around(*about, created=prepared.plan.create, dry_run=dry_run) as left:
            _into_new(work) if prepared.plan.create else _into_empty(work)
        work.left += left
    work.seconds["total"] = time.monotonic() - begin
    return RestoreResult(
        plan=prepared.plan,
        dry_run=dry_run,
        tables=len(backup.manifest.tables),
        rows=work.rows,
        bytes=work.bytes,
        seconds=work.seconds,
        findings=combined([*prepared.plan.findings, *work.findings]),
        remainder=tuple(sorted(work.left, key=_turn)),
    )


def _turn(left: Left) -> int:
    """In the remainder: an object before its owner, and its owner before others may use it."""
    return 2 if left.sql.startswith("GRANT ") else int(is_owner(Statement(left.sql, 1)))


def _not_proven(why: str) -> Finding:
    return Finding.of("dry-run-partial", why=why)


def _into_new(work: Work) -> None:
    server = work.prepared.server
    settings = work.prepared.schema.settings
    mark = f"being restored by backup_pipeline from {work.backup}; not complete"
    with work.timed("create"):
        # An interrupt between the server's work and our knowing of it must not leave a database behind.
        try:
            work.findings += create_database(server, settings, comment=mark)
            surroundings.close(server, work.prepared.schema)
        except KeyboardInterrupt:
            drop_database(server)
            raise
    try:
        _fill(work)
        set_comment(server, settings.get("comment"))
    except BaseException as error:
        if strangers(server, work.made):
            take_back(
                work.prepared.server,
                work.made,
                error,
                "the database stays, because others have made something in it meanwhile",
            )
        else:
            drop_database(server)
        _drop_roles(work)
        raise


def _into_empty(work: Work) -> None:
    try:
        _fill(work)
    except BaseException as error:
        # With two logins nothing is one transaction; the database is a drill's, which drops it.
        if not work.prepared.plan.one_transaction and work.superuser is None:
            take_back(work.prepared.server, work.made, error)
            _drop_roles(work)
        raise


def _drop_roles(work: Work) -> None:
    """Those of a transaction went with it."""
    if work.prepared.plan.one_transaction:
        return
    with work.prepared.server.maintenance() as connection:
        definers.drop_owners(connection, work.roles)


def _fill(work: Work) -> None:
    server = work.prepared.server
    with ExitStack() as stack:
        connection = stack.enter_context(server.open())
        if server.superuser is not None:
            work.superuser = stack.enter_context(server.by_superuser.open())
            prepare_session(work.superuser)
        work.facts = Facts.of(connection, with_superuser=work.superuser is not None)
        prepare_session(connection)
        speed_up(connection)
        if work.dry_run or work.prepared.plan.one_transaction:
            _in_one_transaction(work, connection)
        else:
            _in_parallel(work, connection)


def _makes(work: Work) -> list[Make]:
    return post_data.sort_out(
        work.prepared.sections.get("post-data", ()),
        work.prepared.schema,
        work.prepared.without_rows,
        work.facts.tablespaces,
    )


def _phase(makes: Iterable[Make], phase: post_data.Phase) -> list[Make]:
    return [item for item in makes if item.phase == phase]


# ── everything in one transaction


def _in_one_transaction(work: Work, connection: Connection) -> None:
    small = work.prepared.plan.one_transaction
    try:
        with explained("committing the restore"), work.noting(connection):
            # Told to the one transaction that matters: its commit waits for the disk.
            connection.execute("SET LOCAL synchronous_commit = on")
            runner = _runner(work, connection)
            _define(work, runner)
            if small:
                with work.timed("load"):
                    prepare_session(connection)
                    loader = _loader(work, connection)
                    for piece in _pieces(work, connection):
                        loader.load(piece)
                    work.take(loader.finish())
            else:
                work.findings.append(
                    _not_proven("its rows are too many for one transaction; definitions were run")
                )
            makes = _makes(work)
            for phase, name in (("index", "indexes"), ("attach", "indexes"), ("foreign key", "foreign keys")):
                with work.timed(name):
                    for item in _phase(makes, phase):  # type: ignore[arg-type]
                        work.take(
                            post_data.make(connection, item, work.prepared.encoding, work.prepared.terms)
                        )
            with work.timed("rest"):
                runner.run_all((item.statement for item in _phase(makes, "rest")), "post-data")
            with work.timed("analyze"):
                work.findings += finish.analyze(connection, work.analyzed, work.prepared.terms.path)
            _finish(work, connection, runner)
            if work.dry_run:
                raise _DryRun
    except _DryRun:
        work.rows = work.bytes = 0
    work.findings += runner.findings()


def _runner(work: Work, connection: Connection) -> Runner:
    """The owners that are missing are made before anything that runs with their rights."""
    prepared, facts = work.prepared, work.facts
    definers.make_owners(connection, facts, prepared.definers, prepared.terms, work.roles)
    facts = definers.with_owners(facts, prepared.definers, prepared.terms)
    if prepared.terms.trusted:
        return Runner(connection, facts, prepared.terms, prepared.definers, left=work.left)
    return UntrustedRunner(
        connection,
        facts,
        prepared.terms,
        prepared.definers,
        left=work.left,
        superuser=work.superuser,
        encoding=prepared.encoding,
        login=connection.info.user,
    )


def _define(work: Work, runner: Runner) -> None:
    with work.timed("definitions"):
        work.say("load", "definitions")
        runner.run_all(work.prepared.sections["pre-data"], "pre-data")


def _finish(work: Work, connection: Connection, runner: Runner) -> None:
    with work.timed("finish"):
        work.say("index", "sequences and materialized views")
        terms = work.prepared.terms
        work.take(finish.refresh_views(connection, finish.populated_views(work.prepared.schema), terms))
        work.take(finish.set_sequences(connection, work.manifest.sequences, terms))
        runner.run_later(work.prepared.encoding)
        work.findings += finish.drop_public(work.superuser or connection, work.prepared.schema)


# ── in parallel


def _in_parallel(work: Work, connection: Connection) -> None:
    runner = _runner(work, connection)
    setup = Setup(
        server=work.prepared.server,
        door=work.backup.door,
        encoding=work.prepared.encoding,
        may_skip_log=_log_is_minimal(connection),
        terms=work.prepared.terms,
    )
    with Pool(FACTORY, setup, work.prepared.plan.jobs) as pool:
        with work.timed("definitions"):
            work.say("load", "definitions")
            _run_noted(work, connection, runner, work.prepared.sections["pre-data"], "pre-data")
        makes = _makes(work)
        pieces = _pieces(work, connection)
        with work.timed("rows and indexes"):
            _fill_tables(work, pool, connection, _phase(makes, "index"), pieces)
            for item in _phase(makes, "attach"):
                work.take(post_data.make(connection, item, work.prepared.encoding, work.prepared.terms))
        with work.timed("foreign keys"):
            _make_all(work, pool, _phase(makes, "foreign key"))
    wanted = sum(piece.rows for piece in pieces)
    if work.rows != wanted or (wanted != work.manifest.rows and not work.prepared.terms.forgiving):
        raise RestoreError(
            f"{work.rows} rows were loaded, and the manifest says {work.manifest.rows}",
            remedy="`verify` says whether the backup is whole; restore another one",
        )
    with work.timed("rest"):
        rest = [item.statement for item in _phase(makes, "rest")]
        _run_noted(work, connection, runner, rest, "post-data")
    with explained("committing the restore"), work.noting(connection):
        connection.execute("SET LOCAL synchronous_commit = on")
        _finish(work, connection, runner)
        # A commit that changed nothing would not wait for the disk, and those before it did not.
        connection.execute("SELECT pg_catalog.pg_current_xact_id()")
    work.findings += runner.findings()


def _run_noted(
    work: Work, connection: Connection, runner: Runner, statements: Iterable[Statement], section: str
) -> None:
    for some in transactions(work.facts, statements):
        with work.noting(connection):
            runner.run_some(some, section)
    runner.run_all((), section)


def _heard(work: Work, news: object) -> None:
    assert isinstance(news, Moved)
    work.moved(news.table, news.rows, news.bytes)


def _pieces(work: Work, connection: Connection) -> list[Piece]:
    pieces = rows.pieces_of(work.manifest)
    if not work.prepared.terms.code:
        work.take(tables.drop_volatile_checks(connection))
    if work.prepared.terms.forgiving:
        pieces, lost = tables.loadable(connection, pieces)
        work.findings += lost
    return pieces


def _loader(work: Work, connection: Connection) -> Loader:
    path = work.prepared.terms.path
    return Loader(connection, work.backup.door, work.prepared.encoding, path, work.moved)


def _fill_tables(
    work: Work, pool: Pool, connection: Connection, makes: Sequence[Make], pieces: Sequence[Piece]
) -> None:
    """The rows first; an index as soon as the rows of its table are in and a worker has nothing to load."""
    loads = deque(rows.loads(pieces))
    roots = post_data.roots_of(work.prepared.schema)
    pending = Counter(roots.get(piece.table, piece.table) for task in loads for piece in task.pieces)
    schedule = Schedule(list(makes), blocked=pending)
    statistics = deque(_analyze_tasks(work))
    loader = _loader(work, connection)
    refused: list[Piece] = []

    def pick() -> Load | Make | Analyze | None:
        if loads:
            return loads.popleft()
        make = schedule.pick()
        if make is not None or schedule.waiting or +pending:
            return make
        # Statistics of expressions need their indexes; the last of them may still be under way elsewhere.
        return statistics.popleft() if statistics and schedule.idle else None

    def loaded(some: Iterable[Piece]) -> None:
        pending.subtract(roots.get(piece.table, piece.table) for piece in some)

    def done(task: Load | Make | Analyze, found: tuple[Any, ...]) -> None:
        if isinstance(task, Load):
            refused.extend(found)
            loaded(piece for piece in task.pieces if piece not in found)
            return
        work.take(found)
        if isinstance(task, Make):
            schedule.done(task)
            work.say("index", task.statement.text.partition("\n")[0][:100])

    while True:
        pool.schedule(pick, on_result=done, on_news=lambda _task, news: _heard(work, news))
        if not refused:
            break
        # No other session holds a lock now: what refuses the first piece of each table gives way, for all of them.
        first = {piece.table: piece for piece in reversed(refused)}
        for piece in first.values():
            loader.load(piece)
        loaded(first.values())
        for piece in (piece for piece in refused if piece not in first.values()):
            loads.append(Load((piece,), loader.path_of(piece.table)))
        refused.clear()
    work.take(loader.finish())


def _make_all(work: Work, pool: Pool, makes: Sequence[Make]) -> None:
    schedule = Schedule(list(makes))

    def done(item: Make, found: tuple[Finding | Left, ...]) -> None:
        schedule.done(item)
        work.take(found)
        work.say("index", item.statement.text.partition("\n")[0][:100])

    pool.schedule(schedule.pick, on_result=done)


def _analyze_tasks(work: Work) -> list[Analyze]:
    """Big tables alone, largest first; small ones together. Partitioned tables read all of theirs: last."""
    sizes = {entry.id: entry.bytes for entry in work.manifest.tables}
    tables = sorted(work.analyzed, key=lambda table: -sizes.get(table, 0))
    big = [Analyze((table,)) for table in tables if sizes.get(table, 0) >= rows.BATCH]
    small = [table for table in tables if sizes.get(table, 0) < rows.BATCH]
    return big + [Analyze(tuple(small[at : at + 50])) for at in range(0, len(small), 50)]


def _log_is_minimal(connection: Connection) -> bool:
    row = connection.execute("SELECT pg_catalog.current_setting('wal_level')").fetchone()
    return row is not None and row[0] == "minimal"
