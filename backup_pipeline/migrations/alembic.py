"""Alembic: a graph of revisions in files; the table alembic_version holds the tips of what was applied.

`path` is the project (with alembic.ini or pyproject.toml), the folder with env.py, or a folder of versions.
"""

from __future__ import annotations

import configparser
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.errors import ConfigError
from backup_pipeline.migrations import literals
from backup_pipeline.migrations.order import in_order, with_ancestors
from backup_pipeline.model.manifest import Migrations, saying


@dataclass(frozen=True, slots=True)
class Revision:
    id: str
    #: What it continues; several for a merge.
    down: tuple[str, ...]
    #: What must be applied before it without being continued: revisions or labels of branches.
    depends_on: tuple[str, ...]
    labels: tuple[str, ...]
    file: Path


def read(path: Path, applied: tuple[str, ...] | None) -> Migrations:
    revisions = {revision.id: revision for revision in _revisions(path)}
    labelled = {label: revision.id for revision in revisions.values() for label in revision.labels}
    parents = {
        revision.id: (*revision.down, *(labelled.get(name, name) for name in revision.depends_on))
        for revision in revisions.values()
    }
    for revision in revisions.values():
        for parent in parents[revision.id]:
            if parent not in revisions:
                raise ConfigError(
                    f"the revision {revision.id} ({revision.file}) continues {parent}, which is in no file",
                    remedy="complete the checkout of the project, or set `migrations: path:` to all of its versions",
                )
    continued = {parent for revision in revisions.values() for parent in revision.down}
    heads = tuple(sorted(revisions.keys() - continued))
    known = applied or ()
    strange = tuple(name for name in known if name not in revisions)
    if strange:
        # The database is ahead of these files (an older checkout): what is pending cannot be told from them.
        return Migrations("alembic", known, heads, unknown=saying(strange))
    done = with_ancestors(known, parents)
    pending = tuple(name for name in in_order(parents) if name not in done)
    return Migrations("alembic", known, heads, pending)


def _revisions(path: Path) -> Iterator[Revision]:
    seen: dict[str, Path] = {}
    folders, recursive = _folders(path)
    for folder in folders:
        for file in sorted(folder.rglob("*.py") if recursive else folder.glob("*.py")):
            revision = _revision(file)
            if revision is None:
                continue
            if revision.id in seen:
                raise ConfigError(
                    f"the revision {revision.id} is in two files: {seen[revision.id]} and {file}",
                    remedy="give one of them another revision",
                )
            seen[revision.id] = file
            yield revision
    if not seen:
        raise ConfigError(
            f"there is no Alembic revision below {path}",
            remedy="`migrations: path:` is the folder with alembic.ini, or the one with env.py, or that of the versions",
        )


def _revision(file: Path) -> Revision | None:
    if file.name.startswith((".", "__")):
        return None
    found = literals.assigned(literals.parse(file).body)
    identifier = literals.text(found.get("revision"))
    if identifier is None:
        return None
    return Revision(
        identifier,
        literals.texts(found.get("down_revision")),
        literals.texts(found.get("depends_on")),
        literals.texts(found.get("branch_labels")),
        file,
    )


def _folders(path: Path) -> tuple[tuple[Path, ...], bool]:
    """Where the revision files are, and whether below folders as well."""
    options = _options(path)
    root = path if path.is_dir() else path.parent
    recursive = options.get("recursive_version_locations", "").strip().lower() in ("true", "1", "yes", "on")
    locations = options.get("version_locations", "")
    if locations:
        return tuple(_resolve(root, one) for one in _split(locations, options)), recursive
    if options.get("script_location"):
        return (_resolve(root, options["script_location"]) / "versions",), recursive
    if (root / "versions").is_dir():
        return (root / "versions",), recursive
    if (root / "alembic" / "versions").is_dir():
        return (root / "alembic" / "versions",), recursive
    return (root,), recursive


def _options(path: Path) -> dict[str, str]:
    """[alembic] of alembic.ini, else [tool.alembic] of pyproject.toml."""
    root = path if path.is_dir() else path.parent
    ini = path if path.suffix == ".ini" else root / "alembic.ini"
    if ini.is_file():
        # alembic.ini is read with %(here)s; anything else that is interpolated is not ours to know.
        parser = configparser.RawConfigParser()
        parser.read(ini, encoding="utf-8")
        if parser.has_section("alembic"):
            return {
                key: value.replace("%(here)s", str(root)).replace("%%", "%")
                for key, value in parser.items("alembic")
            }
    project = root / "pyproject.toml"
    if project.is_file():
        table = tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {}).get("alembic", {})
        joined = {
            key: "\n".join(value) if isinstance(value, list) else str(value) for key, value in table.items()
        }
        return {key: value.replace("%(here)s", str(root)) for key, value in joined.items()}
    return {}


def _split(locations: str, options: dict[str, str]) -> list[str]:
    separator = options.get("path_separator") or options.get("version_path_separator") or ""
    pattern = {"os": re.escape(os.pathsep), ":": ":", ";": ";", "space": r"\s+", "newline": r"\n+"}.get(
        separator.strip(), r"[\s,]+"
    )
    if "\n" in locations.strip() and separator.strip() != "os":
        pattern = r"\n+"
    return [one.strip() for one in re.split(pattern, locations) if one.strip()]


def _resolve(root: Path, location: str) -> Path:
    """A folder; `package:folder` means a folder of a package, which is looked for below the project."""
    package, colon, rest = location.partition(":")
    if colon and not Path(location).is_absolute() and re.fullmatch(r"[\w.]+", package):
        for base in (root, root / "src"):
            found = base / package.replace(".", "/") / rest
            if found.is_dir():
                return found
    return root / location
