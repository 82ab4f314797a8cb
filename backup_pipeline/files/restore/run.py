"""The restore of file trees: plan, write, finish. What is written stays, also when it is interrupted: run it again and it
goes on where it was, because files that are right already are left alone."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backup_pipeline.errors import BackupError, ConfigError, Damaged, NotFound, RestoreError
from backup_pipeline.files.restore import finishing
from backup_pipeline.files.restore.anchored import current_umask, open_target
from backup_pipeline.files.restore.files_plan import FilesOrder, FilesPlan, FilesResult
from backup_pipeline.files.restore.looking import Chosen, Look, Work, findings_of, refusals_of
from backup_pipeline.files.restore.names import checked
from backup_pipeline.files.restore.spool import Item, Spool
from backup_pipeline.files.restore.worker import FACTORY, Bringer, Done, Setup, Task
from backup_pipeline.files.restore.writing import Manners, Writer, sync_file_system
from backup_pipeline.model.files import FileEntry
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileTree, Manifest
from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.processes.workers import Pool
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.packs import image_blocks

#: Hashing, unpacking and writing release the interpreter's lock.
THREADS = 2
#: So much is worth the start of worker processes.
MANY_FILES, MANY_BYTES = 3000, 128 * 1024 * 1024
#: What a file system needs beside the contents.
_SPARE = 16 * 1024 * 1024

#: Tree → the paths in it that the rows name, sorted. Who asks for `only_referenced` hands it in.
Referenced = Mapping[str, Iterable[str]]


def plan_files(
    backup: Backup,
    target: Path,
    order: FilesOrder,
    *,
    referenced: Referenced | None = None,
    listener: Listener = silent,
) -> FilesPlan:
    """Look at the target and the backup; writes nothing. What speaks against the restore is in `refused`."""
    with _looked(backup, target, order, referenced, listener) as (plan, _, _):
        return plan


def restore_files(
    backup: Backup,
    target: Path,
    order: FilesOrder,
    *,
    referenced: Referenced | None = None,
    listener: Listener = silent,
    threads: int = THREADS,
) -> FilesResult:
    """Bring the files back below `target`, which is made if need be."""
    begin = time.monotonic()
    with ExitStack() as stack:
        looked = _looked(backup, target, order, referenced, listener)
        plan, works, root = stack.enter_context(looked)
        plan.raise_if_refused()
        if root is None:
            root = open_target(target, make=True)
            assert root is not None
            stack.callback(os.close, root)
            _lock(root, target)
        manners = Manners(backup.id, current_umask(), order.owner, order.keep)
        setup = Setup(backup.vault.objects, target, manners, order.salvage)
        run = _TreeRestore(backup, plan, root, setup, listener, threads)
        try:
            for work in works:
                run.tree(work)
            sync_file_system(root)
        except OSError as error:
            raise run.failure(error) from error
    return FilesResult(
        plan,
        run.files,
        run.written,
        run.links,
        run.folders,
        run.kept,
        seconds=time.monotonic() - begin,
        findings=(*plan.findings, *run.findings),
    )


def trees_of(manifest: Manifest, names: Iterable[str]) -> tuple[FileTree, ...]:
    """The trees that are meant; no name: all of them."""
    wanted = tuple(dict.fromkeys(names)) or tuple(tree.name for tree in manifest.files)
    held = ", ".join(tree.name for tree in manifest.files) or "none"
    found = []
    for name in wanted:
        tree = manifest.tree(name)
        if tree is None:
            raise NotFound(
                f"the backup {manifest.id} of {manifest.system} holds no file tree {name!r}",
                remedy=f"it holds: {held}",
            )
        found.append(tree)
    if not found:
        raise NotFound(
            f"the backup {manifest.id} of {manifest.system} holds no file tree",
            remedy="leave --files away to restore its database",
        )
    return tuple(found)


# ── the plan


@contextmanager
def _looked(
    backup: Backup,
    target: Path,
    order: FilesOrder,
    referenced: Referenced | None,
    listener: Listener,
) -> Iterator[tuple[FilesPlan, list[Work], int | None]]:
    if order.overwrite and order.leave:
        raise ConfigError(
            "files that differ are either replaced or left", remedy="--overwrite or --leave, not both"
        )
    trees = trees_of(backup.manifest, order.trees)
    # One tree that was named is the folder itself; several, or all, are folders in it.
    alone = len(order.trees) == 1
    with ExitStack() as stack:
        root = open_target(target, make=False)
        if root is not None:
            stack.callback(os.close, root)
            _lock(root, target)
        works = []
        for tree in trees:
            listener(Advance("compare", tree.name, note=f"looking at {target}"))
            files, links, shared = (stack.enter_context(Spool()) for _ in range(3))
            work = Work(tree, "" if alone else tree.name, files, links, shared)
            named = referenced.get(tree.name, ()) if referenced is not None else None
            try:
                _look(backup, root, work, order, Chosen(order, named))
            except OSError as error:
                where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
                raise RestoreError(
                    f"cannot look at what is in {target}: {error.strerror}{where}",
                    remedy="run it as a user who may read and write there; nothing was written",
                ) from error
            works.append(work)
        _refuse_nothing(backup, works, order)
        free, refused = _room(target, root, works, order)
        missing = _missing(backup, trees)
        plan = FilesPlan(
            backup.system,
            backup.id,
            str(target),
            order,
            tuple(work.plan(str(target / work.below) if work.below else str(target)) for work in works),
            free_bytes=free,
            findings=(
                *_incomplete(trees),
                *findings_of(works, order),
                *(one for one in missing if order.salvage),
            ),
            refused=(
                *_may_not_own(order),
                *(one for one in missing if not order.salvage),
                *refusals_of(works, order),
                *refused,
            ),
        )
        yield plan, works, root


def _refuse_nothing(backup: Backup, works: Sequence[Work], order: FilesOrder) -> None:
    if order.globs and not any(work.chosen for work in works):
        named = ", ".join(work.tree.name for work in works)
        raise NotFound(
            f"nothing in {named} of the backup {backup.id} fits {', '.join(order.globs)}",
            remedy="patterns are as in .gitignore: '*.pdf' is a name at any depth, 'orders/2026' a path from the root "
            "of the tree; nothing was written",
        )


def _look(backup: Backup, root: int | None, work: Work, order: FilesOrder, chosen: Chosen) -> None:
    what = f"the listing of {work.tree.name} in {backup}"
    look = Look(root, work, order)
    look.look_at(checked(backup.vault.listing(work.tree, what), what=what), chosen)
    if look.needs_contents:
        look.look_at_shared(backup.vault.listing(work.tree, what))


def _lock(root: int, target: Path) -> None:
    """Two restores into one folder would take each other's files for foreign ones."""
    try:
        fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RestoreError(
            f"another restore is writing to {target}", remedy="wait for it, or restore to another folder"
        ) from None
    except OSError:
        return  # a file system without locks


def _incomplete(trees: Iterable[FileTree]) -> Iterator[Finding]:
    for tree in trees:
        if tree.missed:
            yield Finding.of("tree-incomplete", tree=tree.name, missed=tree.missed)


def _may_not_own(order: FilesOrder) -> Iterator[Finding]:
    if order.owner and os.geteuid() != 0:
        yield Finding.of("not-root")


def _missing(backup: Backup, trees: Iterable[FileTree]) -> tuple[Finding, ...]:
    """Before a byte is written: is every pack there, and as long as it should be?"""
    found = []
    chosen = tuple(trees)
    gone = {
        one.sha256
        for one in backup.vault.presence.missing(
            ref for tree in chosen for ref in (*tree.packs, *tree.blocks)
        )
    }
    for tree in chosen:
        missing = [ref for ref in (*tree.packs, *tree.blocks) if ref.sha256 in gone]
        if missing:
            what = "1 object" if len(missing) == 1 else f"{len(missing)} objects"
            found.append(
                Finding.of(
                    "object-missing/tree",
                    tree=tree.name,
                    objects=what,
                    system=backup.system,
                    manifest=backup.id,
                    examples=(ref.sha256 + ref.suffix for ref in missing[:10]),
                )
            )
    return tuple(found)


def _room(
    target: Path, root: int | None, works: list[Work], order: FilesOrder
) -> tuple[int | None, tuple[Finding, ...]]:
    """The known part of the space before the start. The size of a file with holes is unknown: it is not counted."""
    place = target.absolute()
    while root is None and not place.exists():
        place = place.parent
    try:
        space = os.statvfs(place if root is None else root)
    except OSError:
        return None, ()
    free = space.f_bavail * space.f_frsize
    needed = sum(work.sure_bytes for work in works)
    inodes = sum(work.create.count + len(work.folders) for work in works)
    if needed and needed + _SPARE > free:
        return free, (Finding.of("no-space", target=target, free=free, needed=needed),)
    if space.f_files and inodes > space.f_favail:
        return free, (Finding.of("no-space/inodes", target=target, free=space.f_favail, inodes=inodes),)
    return free, ()


# ── the work


class _Stopped(Exception):
    """Another thread failed."""


@dataclass
class _TreeRestore:
    backup: Backup
    plan: FilesPlan
    root: int
    setup: Setup
    listener: Listener
    threads: int
    files: int = 0
    written: int = 0
    links: int = 0
    folders: int = 0
    kept: int = 0
    findings: list[Finding] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def tree(self, work: Work) -> None:
        if work.below or self.plan.create or work.folders:
            self.folders += finishing.make_folders(self.root, work, self.setup.manners)
        self._packs(work)
        for entry, item in work.images:
            self._image(work, entry, item)
        with Writer(self.root, self.setup.manners) as writer:
            self.links += finishing.make_links(writer, work)
            self.files += finishing.make_hard_links(writer, work, self.setup.manners)
            self.kept += writer.kept
        finishing.finish_folders(self.root, work, self.setup.manners)

    def _packs(self, work: Work) -> None:
        """What a pack holds is gathered from the spool here; threads or processes take one pack after the other."""
        tasks = self._tasks(work)
        many = len(work.files) >= MANY_FILES or work.create.bytes + work.differs.bytes >= MANY_BYTES
        # A store that is far away waits for answers, and what it needs for that is no small process.
        if many and self.backup.vault.store.features.cheap_stat:
            with Pool(FACTORY, self.setup, self.threads) as pool:
                pool.run(
                    tasks,
                    on_result=lambda _, done: self._done(work, done),
                    on_news=lambda _, news: self._wrote(*news),
                )
            return
        with ThreadPoolExecutor(self.threads, thread_name_prefix="restore") as threads:
            running: set[Future[None]] = set()
            try:
                for task in tasks:
                    running.add(threads.submit(self._task, work, task))
                    while len(running) > self.threads:
                        done, running = wait(running, return_when=FIRST_COMPLETED)
                        for future in done:
                            future.result()
                for future in running:
                    future.result()
            except BaseException:
                self._stop.set()
                wait(running)
                raise

    def _tasks(self, work: Work) -> Iterator[Task]:
        packs = work.tree.packs
        for number, places in work.files.by_pack():
            if number > len(packs):
                raise self._bad_place(work, number)
            yield Task(packs[number] if number < len(packs) else None, tuple(places))

    def _task(self, work: Work, task: Task) -> None:
        self._done(work, Bringer(self.setup, self.root, self._wrote).bring(task))

    def _bad_place(self, work: Work, number: int) -> Damaged:
        return Damaged(
            f"the listing of {work.tree.name} names pack {number}, and there are {len(work.tree.packs)}",
            remedy="restore another backup, and look at who can write to the vault",
        )

    def _wrote(self, path: str, size: int) -> None:
        if self._stop.is_set():
            raise _Stopped
        with self._guard:
            total = self.plan.create_bytes + self.plan.replaced_bytes
            self.listener(Advance("load", path, bytes=size, total_bytes=total))

    def _image(self, work: Work, entry: FileEntry, item: Item) -> None:
        done = Done()
        with Writer(self.root, self.setup.manners) as writer:
            bringer = Bringer(self.setup, self.root, self._wrote)
            try:
                bringer.write(writer, item, image_blocks(self.setup.objects, entry), done)
            except Damaged as error:
                if not self.setup.salvage:
                    raise
                done.lost, done.why = (item.path,), error.message
            writer.settle()
            done.kept = writer.kept
        self._done(work, done)

    def _done(self, work: Work, done: Done) -> None:
        with self._guard:
            self.files += done.files
            self.written += done.bytes
            self.kept += done.kept
        if done.lost:
            self._lost(work, done.why, done.lost)

    def _lost(self, work: Work, why: str, lost: tuple[str, ...]) -> None:
        with self._guard:
            self.findings.append(
                Finding.of("file-lost", tree=work.tree.name, count=len(lost), why=why, examples=lost[:20])
            )

    def failure(self, error: OSError) -> BackupError:
        """What the system refused, and that nothing is lost."""
        where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
        message = f"the restore of files to {self.plan.target} stopped: {error.strerror}{where}"
        remedy = "what was restored stays; when the cause is gone, run it again: it goes on"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "free space on that disk and run it again: what was restored stays, and it goes on"
        return RestoreError(message, remedy=remedy)
