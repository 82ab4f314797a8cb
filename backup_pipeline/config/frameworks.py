"""What the framework of an application says of its files: where they are, which columns name them, and which tables hold
what is made again by use.

Known by its tables; the rest is by its usual names, and by reading its settings as text. Nothing of the application is run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backup_pipeline.model.inventory import InventoryTable
from backup_pipeline.model.schema import TableId

#: What a `FileField` or `ImageField` is usually called; it is a varchar, of 100 characters unless the model says otherwise.
_FILE_FIELD = re.compile(
    r"(^|_)(file|image|avatar|photo|picture|upload|document|attachment|logo|thumbnail|cover|icon|video|audio)$"
)
_VARCHAR = re.compile(r"(varchar|character varying)\s*\(\s*(\d+)\s*\)", re.IGNORECASE)
_LENGTHS = range(100, 513)
_SETTINGS = ("settings*.py", "*/settings*.py", "*/settings/*.py", "*/*/settings*.py", "*/*/settings/*.py")
_MEDIA_ROOT = re.compile(r"^MEDIA_ROOT\s*=(.+)$", re.MULTILINE)
_TEXT = re.compile(r"""["']([^"'\n]+)["']""")
#: Settings of what is installed are not those of the application.
_NOT_OURS = frozenset({"site-packages", "node_modules", ".venv", "venv"})


@dataclass(frozen=True, slots=True)
class Framework:
    name: str
    #: What its file tree is called, and its folder as the configuration names it; "" where none was found.
    tree: str
    folder: str = ""
    #: Column → how it names files, as in `refs:`.
    refs: dict[str, str] = field(default_factory=dict)
    #: Tables whose rows are of no use in a restored application.
    dispensable: tuple[TableId, ...] = ()


def framework_of(tables: Sequence[InventoryTable], base: Path) -> Framework | None:
    """`base` is the folder of the configuration."""
    names = {table.id.name for table in tables}
    if "django_migrations" in names:
        return _django(tables, base)
    if "active_storage_blobs" in names:
        return _rails(tables, base)
    return None


def _django(tables: Sequence[InventoryTable], base: Path) -> Framework:
    refs = {
        f"{_named(table.id)}.{column}": _with_sha1(table, column)
        for table in tables
        for column in _file_fields(table)
    }
    sessions = tuple(table.id for table in tables if table.id.name == "django_session")
    return Framework("Django", "media", _beside(_media_root(base), base), refs, sessions)


def _file_fields(table: InventoryTable) -> Iterator[str]:
    for column, kind in table.types.items():
        length = _VARCHAR.fullmatch(kind)
        if length and int(length[2]) in _LENGTHS and _FILE_FIELD.search(column):
            yield column


def _with_sha1(table: InventoryTable, column: str) -> str:
    """Wagtail keeps the SHA-1 of a document or an image beside its name."""
    if column == "file" and "file_hash" in table.types:
        return f"{{kind: path, sha1: {_named(table.id)}.file_hash}}"
    return "path"


def _media_root(base: Path) -> Path | None:
    """Where a settings file says that uploads are; else the usual folder, if it is there."""
    for pattern in _SETTINGS:
        for path in sorted(base.glob(pattern)):
            if _NOT_OURS.isdisjoint(path.parts) and (found := _said_in(path, base)):
                return found
    usual = base / "media"
    return usual if usual.is_dir() else None


def _said_in(settings: Path, base: Path) -> Path | None:
    """`BASE_DIR / "media"`, `os.path.join(PROJECT_DIR, "var", "media")`, `env("MEDIA_ROOT", default="/srv/media")`: the texts in
    it, together or alone, below a folder that the settings may start from."""
    try:
        said = _MEDIA_ROOT.search(settings.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    texts: list[str] = _TEXT.findall(said[1]) if said else []
    above = [one for one in settings.parents if one == base or base in one.parents]
    for text in (os.path.join(*texts), *texts) if texts else ():  # noqa: PTH118 - joined as the settings do it
        for start in reversed(above):
            if (start / text).is_dir():
                return start / text
    return None


def _rails(tables: Sequence[InventoryTable], base: Path) -> Framework:
    """Active Storage: on a disk, the file of a blob is at storage/ab/cd/abcd…, where abcd… is its key."""
    blobs = next(_named(table.id) for table in tables if table.id.name == "active_storage_blobs")
    folder = base / "storage"
    sessions = tuple(table.id for table in tables if table.id.name == "sessions")
    return Framework(
        "Rails' Active Storage",
        "storage",
        _beside(folder if folder.is_dir() else None, base),
        {f"{blobs}.key": f"{{kind: key, md5: {blobs}.checksum, size: {blobs}.byte_size}}"},
        sessions,
    )


def _beside(folder: Path | None, base: Path) -> str:
    if folder is None:
        return ""
    folder = Path(os.path.normpath(folder))
    return f"./{folder.relative_to(base)}" if folder.is_relative_to(base) else str(folder)


def _named(table: TableId) -> str:
    return table.name if table.schema in ("public", "main") else str(table)
