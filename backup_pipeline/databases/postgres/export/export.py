"""The conductor: chunks out to where they are read, results back into table entries.

A small database is read on the snapshot's own connection, for starting processes would take longer than reading it. A
larger one by worker processes; what a worker would have to queue for comes back and is read here.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backup_pipeline.databases.base import Baseline
from backup_pipeline.databases.postgres.export import connect, unchanged
from backup_pipeline.databases.postgres.export.chunks import Sizes, Storage, Task, table_tasks
from backup_pipeline.databases.postgres.export.reading import Progress, Result, perform
from backup_pipeline.databases.postgres.export.worker import FACTORY, Session
from backup_pipeline.errors import Incomplete, SourceError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Chunk, TableEntry
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.model.schema import Table, TableId
from backup_pipeline.processes.workers import Pool

#: Below this much data, worker processes cost more than they bring.
IN_PROCESS_BYTES = 32 * 1024 * 1024
#: Looking for changes costs about an eighth of reading.
_CHECK_SHARE = 8


@dataclass(frozen=True, slots=True)
class TablePlan:
    """One table, with what goes into the manifest about its storage, and the pieces that it is read in."""

    table: Table
    state: Mapping[str, str]
    tasks: tuple[Task, ...]


def plan_tables(
    connection: connect.Connection,
    tables: Sequence[tuple[Table, Storage, Mapping[str, str]]],
    *,
    full: bool,
    sizes: Sizes,
    snapshot_state: Mapping[str, str],
    baselines: Mapping[TableId, Baseline],
) -> list[TablePlan]:
    plans: list[TablePlan] = []
    number = 0
    for table, storage, state in tables:
        earlier = baselines.get(table.id)
        tasks = table_tasks(table, storage, connection, sizes=sizes, first_number=number, earlier=earlier)
        xmin = None if full else unchanged.trusted(snapshot_state, state, earlier)
        if xmin is not None and earlier is not None:
            tasks = unchanged.with_baselines(tasks, earlier, xmin)
        number += len(tasks)
        plans.append(TablePlan(table, state, tuple(tasks)))
    return plans


#: Does tasks; calls back with each result.
Reader = Callable[[Sequence[Task], Callable[[Result], None]], None]


@dataclass
class Conductor:
    connection: connect.Connection
    session: Session
    workers: int
    listener: Listener
    journal: Callable[[TableEntry], None]
    findings: list[Finding] = field(default_factory=list)
    _done: dict[int, Result] = field(default_factory=dict)
    _plan_of: dict[int, TablePlan] = field(default_factory=dict)
    _meter: Meter = field(default_factory=lambda: Meter())

    def run(self, plans: Sequence[TablePlan]) -> tuple[TableEntry, ...]:
        tasks = unchanged.with_witnesses([task for plan in plans for task in plan.tasks])
        self._plan_of = {task.number: plan for plan in plans for task in plan.tasks}
        self._meter = Meter({task.number: task.weight for task in tasks})
        # Large ones first: the last one to finish is then a small one, and no worker waits long for another.
        tasks.sort(key=lambda task: (not task.witness, -_cost(task), task.number))
        if self.workers > 1 and sum(_cost(task) for task in tasks) >= IN_PROCESS_BYTES:
            with Pool(FACTORY, self.session, min(self.workers, len(tasks)), lost=_lost) as pool:
                self._perform(tasks, lambda todo, take: self._in_workers(pool, todo, take))
        else:
            self._perform(tasks, self._here)
        return tuple(self._entry(plan) for plan in plans)

    def _perform(self, tasks: Sequence[Task], read: Reader) -> None:
        """Nothing is called unchanged before every witness has been heard, and nothing at all when one disagrees."""
        by_number = {task.number: task for task in tasks}
        believed: list[Result] = []
        mismatches: list[Result] = []

        def take(result: Result) -> None:
            if result.mismatch:
                mismatches.append(result)
            if result.chunk is not None and result.chunk.reused_from:
                believed.append(result)
            else:
                self._accept(result)

        read(tasks, take)
        if not mismatches:
            for result in believed:
                self._accept(result)
            return
        for result in mismatches:
            self._report_mismatch(by_number[result.number])
        read([plain(by_number[result.number]) for result in believed], self._accept)

    def _report_mismatch(self, task: Task) -> None:
        self.findings.append(
            Finding.of(
                "witness-mismatch", table=task.table, label=task.label, last_read=unchanged.last_read(task)
            )
        )

    def _here(self, tasks: Sequence[Task], take: Callable[[Result], None]) -> None:
        for task in tasks:
            take(perform(self.connection, task, self.session.sink, self.session.encoding, self._hear))

    def _in_workers(self, pool: Pool, tasks: Sequence[Task], take: Callable[[Result], None]) -> None:
        left: list[Task] = []

        def on_result(task: Task, result: Result) -> None:
            if result.locked_out:
                left.append(task)
            else:
                take(result)

        pool.run(tasks, on_result=on_result, on_news=lambda _, news: self._hear(news))
        self._here(left, take)

    def _hear(self, news: Progress) -> None:
        self._tell(news.number, news.rows, news.bytes)

    def _accept(self, result: Result) -> None:
        self._done[result.number] = result
        reused = result.chunk is not None and result.chunk.reused_from is not None
        self._tell(result.number, result.rows, result.bytes, finished=True, note="reused" if reused else "")
        if result.chunk is not None:
            plan = self._plan_of[result.number]
            self.journal(_entry_of(plan, (result.chunk,), plan.state))

    def _tell(self, number: int, rows: int, size: int, *, finished: bool = False, note: str = "") -> None:
        more_rows, more_bytes = self._meter.advance(number, rows, size, finished=finished)
        subject = str(self._plan_of[number].table.id)
        self.listener(
            Advance("export", subject, more_rows, more_bytes, total_bytes=self._meter.total, note=note)
        )

    def _entry(self, plan: TablePlan) -> TableEntry:
        missing = [task.label for task in plan.tasks if task.number not in self._done]
        if missing:
            raise Incomplete(
                f"not read: {', '.join(missing)}", remedy="run the backup again, and report this"
            )
        results = [self._done[task.number] for task in plan.tasks]
        chunks = [result.chunk for result in results if result.chunk is not None]
        return _entry_of(plan, chunks, unchanged.proven(plan.state))


class Meter:
    """How far it is. A chunk is measured in bytes of heap before it is read and in bytes of text after; the total is
    guessed from how the two relate in what is done."""

    def __init__(self, weights: Mapping[int, int] | None = None) -> None:
        self._weights = dict(weights or {})
        self._told: dict[int, tuple[int, int]] = {}
        self._weight_done = 0
        self._bytes = 0

    def advance(self, number: int, rows: int, size: int, *, finished: bool) -> tuple[int, int]:
        """What is new since the last word about this chunk."""
        before = self._told.get(number, (0, 0))
        self._told[number] = (rows, size)
        self._bytes += size - before[1]
        if finished:
            self._weight_done += self._weights.pop(number, 0)
        return rows - before[0], size - before[1]

    @property
    def total(self) -> int:
        left = sum(self._weights.values())
        ratio = self._bytes / self._weight_done if self._weight_done else 1.0
        return self._bytes + int(left * min(ratio, 4.0))


def _lost(task: Task | None, how: str) -> SourceError:
    killed = how.endswith(f"signal {int(signal.SIGKILL)}")
    return SourceError(
        f"the worker process that was reading {task if task is not None else 'nothing yet'} {how}"
        + (", most likely because memory ran out" if killed else ""),
        remedy="lower `workers`, or give the machine more memory: a row takes about three times its size while it is read",
    )


def plain(task: Task) -> Task:
    """The same chunk, to be read without a look at earlier backups."""
    return replace(task, baseline=None, baseline_xmin=None, witness=False)


def _cost(task: Task) -> int:
    return task.weight // _CHECK_SHARE if task.baseline is not None and not task.witness else task.weight


def _entry_of(plan: TablePlan, chunks: Iterable[Chunk], state: Mapping[str, str]) -> TableEntry:
    chunks = tuple(chunks)
    columns = plan.table.exported_columns
    digest = hashlib.sha256("\n".join(columns).encode())
    for chunk in chunks:
        digest.update(bytes.fromhex(chunk.object.plain_sha256))
    return TableEntry(
        schema=plan.table.id.schema,
        name=plan.table.id.name,
        rows=sum(chunk.rows for chunk in chunks),
        columns=columns,
        chunks=chunks,
        bytes=sum(chunk.object.plain_size for chunk in chunks),
        fingerprint=digest.hexdigest(),
        state=dict(state),
    )
