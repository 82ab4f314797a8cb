"""Folders before the files, links after them, and the folders' own modes and times last of all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from backup_pipeline.errors import RestoreError
from backup_pipeline.files.restore.anchored import Folders
from backup_pipeline.files.restore.looking import Work
from backup_pipeline.files.restore.spool import Item
from backup_pipeline.files.restore.writing import Manners, Writer, temporary_name

#: While it is being filled, its owner must be able to write into it.
_FILLING = 0o700
#: A new folder until it has its mode. The sticky bit tells the next run that it was ours, and that we were killed right then.
_BEGUN = 0o1700


def make_folders(root: int, work: Work, manners: Manners) -> int:
    """Parents first: they come first in the listing."""
    made = 0
    with Folders(root) as folders:
        if work.below:
            made += folders.make(work.below, 0o777)
        for item in work.folders:
            if folders.make(item.path, _BEGUN):
                made += 1
                os.fchmod(folders.folder(item.path), _mode(item, manners) | _FILLING)
        for item in _items(work):
            above = item.path.rpartition("/")[0]
            if above:
                # A listing without folders of its own (a bucket) names none.
                folders.make(above, 0o777)
    return made


def _items(work: Work) -> Iterator[Item]:
    last = "\0"
    for spool in (work.files, work.links, work.hardlinks):
        for item in spool:
            above = item.path.rpartition("/")[0]
            if above != last:
                last = above
                yield item
    for _, item in work.images:
        yield item


def make_links(writer: Writer, work: Work) -> int:
    made = 0
    for item in work.links:
        folder, name = writer.folders.parent(item.path)
        at = name
        if item.replaces:
            at = temporary_name(item.path)
            with suppress(FileNotFoundError):
                os.unlink(at, dir_fd=folder)
        os.symlink(item.target, at, dir_fd=folder)
        os.utime(at, ns=(item.mtime_ns, item.mtime_ns), dir_fd=folder, follow_symlinks=False)
        if item.replaces:
            writer.make_way(folder, name)
            os.rename(at, name, src_dir_fd=folder, dst_dir_fd=folder)
        made += 1
    return made


def make_hard_links(writer: Writer, work: Work, manners: Manners) -> int:
    """One file with several names again; where the file system has no such thing (or the names lie on two of them), a
    copy of its own."""
    made = 0
    for item in work.hardlinks:
        source, source_name = writer.folders.parent(item.target)
        folder, name = writer.folders.parent(item.path)
        at = temporary_name(item.path) if item.replaces else name
        try:
            if item.replaces:
                with suppress(FileNotFoundError):
                    os.unlink(at, dir_fd=folder)
            os.link(source_name, at, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            raise RestoreError(
                f"{item.path} came into being while the restore was running", remedy="run it again"
            ) from None
        except OSError:
            _copy(writer, item)
        else:
            if item.replaces:
                writer.make_way(folder, name)
                os.rename(at, name, src_dir_fd=folder, dst_dir_fd=folder)
        made += 1
    writer.settle()
    return made


def _copy(writer: Writer, item: Item) -> None:
    with writer.folders.reading(item.target) as descriptor:
        item = replace(item, size=os.fstat(descriptor).st_size)
        writer.write(item, iter(lambda: os.read(descriptor, 1 << 20), b""))
        writer.settle()


def finish_folders(root: int, work: Work, manners: Manners) -> None:
    """From the innermost outwards: what is done in a folder changes its times."""
    with Folders(root) as folders:
        for item in reversed(work.folders):
            descriptor = folders.folder(item.path)
            status = os.fstat(descriptor)
            wanted = _mode(item, manners)
            # One that was there before keeps its mode, unless it has one that an interrupted restore gave it.
            begun = status.st_mode & 0o5777 == _BEGUN
            if not item.replaces or begun or status.st_mode & 0o7777 == wanted | _FILLING:
                if manners.owner and item.uid is not None and item.gid is not None:
                    os.fchown(descriptor, item.uid, item.gid)
                if item.mode is not None:
                    os.fchmod(descriptor, wanted)
            os.utime(descriptor, ns=(item.mtime_ns, item.mtime_ns))


def _mode(item: Item, manners: Manners) -> int:
    if item.mode is None:
        return manners.mode_of(item, 0o777)
    # The group that is handed on to new files (2775) is part of how a media folder works, and harmless on a folder.
    return item.mode & 0o7777 if manners.owner else item.mode & 0o3777
