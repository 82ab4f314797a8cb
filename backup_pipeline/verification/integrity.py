"""The bytes of a backup: is every object there, and is it what its name and the manifest say?

Looking and judging are apart. `look` reads an object once and writes down what it found; `judge` compares
that with what one manifest says of it. So an object that thirty backups share is read once, and every one of
them is judged.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import zstandard

from backup_pipeline.errors import Damaged, KeyMissing, NotFound, NotThawed, StoreUnavailable
from backup_pipeline.model.files import PACK_SUFFIX, STORED_PACK_SUFFIX
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest, ObjectRef
from backup_pipeline.vault import layout
from backup_pipeline.vault.objects import READ_SIZE, Measured, Objects, Readable, objects_of, opened, unpacked
from backup_pipeline.verification.pack_contents import Contents, PackReader

if TYPE_CHECKING:
    from backup_pipeline.verification.rowtext import RowFacts, RowReader

#: Hashing and unpacking release the interpreter's lock. More threads than this only make a disk seek.
THREADS = 4
#: So many objects go to a thread at once where a look is no request.
TOGETHER = 64


@dataclass(frozen=True, slots=True)
class StoredContent:
    """What an object turned out to be."""

    #: "missing", or why it could not be read; empty when it was read to its end.
    unreadable: str = ""
    #: It lies in an archive: it is there, and has this length; it was not read.
    frozen: bool = False
    size: int = 0
    sha256: str = ""
    #: The rest only after a full look.
    unpacked: bool = False
    broken: str = ""
    plain_size: int = 0
    plain_sha256: str = ""
    rows: RowFacts | None = None
    #: Of a pack of files.
    contents: Contents | None = None
    #: It is encrypted to others than the identity that is here.
    key_missing: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """What one backup wants of an object."""

    reference: ObjectRef
    #: For people: "rows of public.orders", "the schema".
    what: str
    #: The tables that are hurt when it is damaged.
    tables: tuple[str, ...] = ()
    #: For row text: how many rows, and how many columns in each.
    rows: int | None = None
    columns: int = 0
    utf8: bool = False
    #: The file tree that is hurt when it is damaged.
    tree: str | None = None
    #: It holds contents of files.
    pack: bool = False


def uses(manifest: Manifest) -> Iterator[Use]:
    """Everything that a backup names, and what for."""
    utf8 = manifest.engine.details.get("row_encoding") == "UTF8"
    yield Use(manifest.schema, "the schema")
    for section in manifest.ddl:
        yield Use(section.object, f"the definitions ({section.name})")
    for table in manifest.tables:
        name = str(table.id)
        for chunk in table.chunks:
            yield Use(
                chunk.object,
                f"rows of {name}",
                (name,),
                rows=chunk.rows,
                columns=len(table.columns),
                utf8=utf8,
            )
    if manifest.image is not None:
        held = tuple(str(table.id) for table in manifest.tables)
        for segment in manifest.image.segments:
            what = f"{manifest.image.name}, bytes {segment.offset} to {segment.offset + segment.size}"
            for pack in segment.packs:
                yield Use(pack, what, held)
            for reference, role in ((segment.map, "the map of"), (segment.digests, "the digests of")):
                if reference is not None:
                    yield Use(reference, f"{role} {what}", held)
    for tree in manifest.files:
        yield Use(tree.listing, f"the listing of {tree.name}", tree=tree.name)
        for pack in tree.packs:
            yield Use(pack, f"files of {tree.name}", tree=tree.name, pack=True)
        for block in tree.blocks:
            yield Use(block, f"blocks of big files of {tree.name}", tree=tree.name)


def look(
    source: Readable, reference: ObjectRef, *, unpack: bool, rows: bool = False, pack: bool = False
) -> StoredContent:
    """Read an object to its end, once."""
    objects = objects_of(source)
    store = objects.store
    try:
        with store.get(layout.object_key(reference)) as stream:
            stored = Measured(stream)
            if not unpack:
                stored.drain()
                return StoredContent(size=stored.size, sha256=stored.sha256)
            reader = _row_reader() if rows else _pack_reader(reference) if pack else None
            return _unpack(objects, reference, stored, reader)
    except NotFound:
        return StoredContent(unreadable="missing")
    except NotThawed:
        stat = store.stat(layout.object_key(reference))
        return (
            StoredContent(unreadable="missing")
            if stat is None
            else StoredContent(frozen=True, size=stat.size)
        )
    except OSError as error:
        return StoredContent(unreadable=error.strerror or str(error))
    except StoreUnavailable as error:
        # One file that cannot be opened is a finding; a store that has gone is not the object's fault.
        store.stat(layout.VAULT)
        return StoredContent(unreadable=error.message)


def _row_reader() -> RowReader:
    # NumPy loads in 0.1 s. A quick look does not need it.
    from backup_pipeline.verification.rowtext import RowReader

    return RowReader()


def _pack_reader(reference: ObjectRef) -> PackReader:
    return PackReader(whole=not reference.suffix.startswith((PACK_SUFFIX, STORED_PACK_SUFFIX)))


def _unpack(
    objects: Objects, reference: ObjectRef, stored: Measured, reader: RowReader | PackReader | None
) -> StoredContent:
    plain, plain_size, broken, key_missing = hashlib.sha256(), 0, "", ""
    try:
        with opened(objects, reference, stored) as packed:
            for block in unpacked(packed, reference.suffix):
                plain.update(block)
                plain_size += len(block)
                if reader is not None:
                    reader.feed(block)
    except zstandard.ZstdError as error:
        broken = f"does not decompress: {error}"
    except Damaged as error:
        broken = error.message.removeprefix("it ")
    except KeyMissing as error:
        key_missing = error.message
    stored.drain()
    told = reader is not None and not (broken or key_missing)
    return StoredContent(
        size=stored.size,
        sha256=stored.sha256,
        unpacked=True,
        broken=broken,
        plain_size=plain_size,
        plain_sha256=plain.hexdigest(),
        rows=reader.facts() if told and reader and not isinstance(reader, PackReader) else None,
        contents=reader.contents() if told and isinstance(reader, PackReader) else None,
        key_missing=key_missing,
    )


@dataclass(frozen=True, slots=True)
class Job:
    reference: ObjectRef
    rows: bool = False
    pack: bool = False


def look_at_all(
    source: Readable, jobs: Iterable[Job], *, unpack: bool, threads: int = 0
) -> Iterator[tuple[Job, StoredContent]]:
    """In parallel; in the order in which they are done. A handful at a time, so that stopping stops."""
    threads = threads or min(THREADS, os.cpu_count() or 1)
    todo = _together(jobs, most=TOGETHER if objects_of(source).store.features.cheap_stat else 1)

    def look_at(some: Sequence[Job]) -> list[tuple[Job, StoredContent]]:
        return [
            (job, look(source, job.reference, unpack=unpack, rows=job.rows, pack=job.pack)) for job in some
        ]

    waiting: set[Future[list[tuple[Job, StoredContent]]]] = set()
    with ThreadPoolExecutor(threads, thread_name_prefix="verify") as pool:
        while True:
            waiting |= {pool.submit(look_at, some) for some in islice(todo, 2 * threads - len(waiting))}
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()


def _together(jobs: Iterable[Job], most: int) -> Iterator[list[Job]]:
    """Small objects by the dozen: handing one to a thread takes twice as long as reading it (50 µs, 30 µs)."""
    some: list[Job] = []
    size = 0
    for job in jobs:
        some.append(job)
        size += job.reference.size
        if len(some) == most or size >= READ_SIZE:
            yield some
            some, size = [], 0
    if some:
        yield some


def judge(use: Use, seen: StoredContent) -> Iterator[Finding]:
    """What is wrong with an object for this use. When its bytes are wrong, what they mean is not asked."""
    reference = use.reference
    name = f"object {reference.sha256[:12]}…{reference.suffix} ({use.what})"
    found = list(_bytes(reference, seen, name)) or [*_rows(use, seen, name), *_pack(use, seen, name)]
    for one in found:
        if not use.tables:
            yield replace(one, tree=use.tree)
        elif len(use.tables) == 1:
            yield replace(one, table=use.tables[0])
        else:
            tables = ", ".join(use.tables[:20]) + (" …" if len(use.tables) > 20 else "")
            yield replace(one, message=f"{one.message}; the tables in it: {tables}", examples=use.tables)


def _bytes(reference: ObjectRef, seen: StoredContent, name: str) -> Iterator[Finding]:
    if seen.unreadable == "missing":
        yield Finding.of("object-missing/verify", name=name)
    elif seen.unreadable:
        yield Finding.of("object-unreadable", name=name, why=seen.unreadable)
    elif seen.size != reference.size:
        yield Finding.of("object-length/verify", name=name, length=seen.size, size=reference.size)
    elif seen.frozen:
        return
    elif seen.sha256 != reference.sha256:
        yield Finding.of("object-altered/verify", name=name)
    elif seen.broken:
        yield Finding.of("object-broken", name=name, broken=seen.broken)
    elif seen.key_missing:
        return  # its bytes are right: one word for all of them is enough
    elif not reference.plain_sha256:
        return  # named by an outline, which does not say what is in it
    elif seen.unpacked and seen.plain_size != reference.plain_size:
        yield Finding.of("content-length", name=name, length=seen.plain_size, size=reference.plain_size)
    elif seen.unpacked and seen.plain_sha256 != reference.plain_sha256:
        yield Finding.of("content-altered/object", name=name)


def _pack(use: Use, seen: StoredContent, name: str) -> Iterator[Finding]:
    contents = seen.contents
    if not use.pack or contents is None:
        return
    if contents.broken:
        yield Finding.of("pack-broken", name=name, why=contents.broken)
    if contents.altered:
        yield Finding.of("pack-altered", name=name, content=contents.altered[0][:12])


def _rows(use: Use, seen: StoredContent, name: str) -> Iterator[Finding]:
    rows = seen.rows
    if use.rows is None or rows is None:
        return
    if rows.rows != use.rows:
        yield Finding.of("row-count/object", name=name, rows=rows.rows, said=use.rows)
    if not rows.ended:
        yield Finding.of("row-cut-off", name=name)
    if not use.columns and seen.plain_size != rows.rows:
        yield Finding.of("row-columns/none", name=name)
    # A row of a table without columns is an empty line, as is one of a single empty text.
    wanted = max(1, use.columns)
    if rows.rows and (rows.fewest_columns, rows.most_columns) != (wanted, wanted):
        had = f"{rows.fewest_columns}"
        if rows.most_columns != rows.fewest_columns:
            had += f" to {rows.most_columns}"
        yield Finding.of("row-columns", name=name, had=had, columns=use.columns)
    if rows.bad_escapes or rows.raw_controls:
        count = rows.bad_escapes + rows.raw_controls
        yield Finding.of("row-text", name=name, count=count)
    if use.utf8 and rows.not_utf8_at is not None:
        yield Finding.of("row-encoding", name=name, at=rows.not_utf8_at)
