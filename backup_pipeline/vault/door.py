"""The doors to the content of a database's backup: its rows, and the database file that it may be. A third one leads to the
rows that a restore touched.

Every reader of values comes through here: query, frames, references, uniqueness, drill, restore. So erasure and masking
will have one place. Only code that proves or moves stored bytes as they are goes past the doors; `test_architecture`
names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.model.manifest import FileImage, ObjectRef
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.vault_records import RowImage
from backup_pipeline.processes.scratch import Scratch
from backup_pipeline.vault.blocks import nothing
from backup_pipeline.vault.images import write_image
from backup_pipeline.vault.objects import Objects, read_blocks


@dataclass(frozen=True, slots=True)
class Door:
    """It can be pickled into a worker process."""

    objects: Objects

    def rows(self, table: TableId, columns: Sequence[str], chunk: ObjectRef) -> Iterator[bytes]:
        """Row text of these columns, a block at a time. Damage is known when the last block is out."""
        return read_blocks(self.objects, chunk)

    def touched(self, image: RowImage) -> Iterator[bytes]:
        """Row text of the rows that a restore touched, a block at a time. Each object is known to be right when its last
        block is out."""
        for one in image.objects:
            yield from read_blocks(self.objects, one)

    def write_image(self, image: FileImage, path: Path, advanced: Callable[[int], None] = nothing) -> None:
        """The database file, at a path that must not exist."""
        write_image(self.objects, image, path, advanced)

    @contextmanager
    def image(self, image: FileImage) -> Iterator[Path]:
        """The database file in a private folder, as long as the block runs."""
        with Scratch.make(image.size) as scratch:
            path = scratch.folder / "image.sqlite3"
            self.write_image(image, path)
            yield path
