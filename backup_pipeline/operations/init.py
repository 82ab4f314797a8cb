"""`init`: a backup.yaml that fits the database, with no password in it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.config import adding, initial
from backup_pipeline.config.frameworks import framework_of
from backup_pipeline.databases.base import Source
from backup_pipeline.databases.engines import engine_at, located, open_source
from backup_pipeline.databases.merge.rulebook import resolve
from backup_pipeline.errors import AlreadyExists, ConfigError, PermissionMissing, UsageError
from backup_pipeline.migrations import migration_state
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import check_system_name
from backup_pipeline.model.inventory import Inventory
from backup_pipeline.model.orders import InitOrder
from backup_pipeline.model.schema import Column, Schema, Table, TableId
from backup_pipeline.model.selection import Selection

TOOLS = ("alembic", "django", "prisma")


@dataclass(frozen=True, slots=True)
class Started:
    path: str
    system: str
    #: "" where the system was added to a configuration that names one.
    vault: str
    tables: int
    bytes: int
    #: To be exported before the next command; "" when there is nothing secret.
    variable: str
    migrations: str
    findings: tuple[Finding, ...]
    next: tuple[str, ...]


def init(order: InitOrder, environ: Mapping[str, str]) -> Started:
    """Look at the database, and write the file or add the system to it."""
    path = Path(str(order.output or order.config or environ.get("BACKUP_CONFIG") or "backup.yaml")).absolute()
    before = _before(order, path)
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent}", remedy="make it, or name another --output")
    url = _from_here(order.database, path.parent)
    name = check_system_name(order.system or initial.system_name(initial.database_name(url), path.parent))
    source = open_source(_absolute(order.database))
    inventory = source.inventory(Selection())
    findings = source.diagnose(Selection()).findings
    tool = _tool(source)
    written, variable = initial.without_password(url, name, tuple(environ.items()))
    seen = initial.FirstLook(
        system=name,
        database=written,
        variable=variable,
        vault=_beside(Path(order.vault), path.parent) if order.vault else "./vault",
        inventory=inventory,
        migrations_tool=tool,
        migrations_path=_migrations(tool, path.parent, source),
        framework=framework_of(inventory.tables, path.parent),
        presets=_presets(inventory),
    )
    if before is None:
        _write(path, initial.text(seen))
    else:
        _write(path, adding.with_system(before, seen, name=str(path)), like=path)
    export = (f"export {variable}=…",) if variable and variable not in environ else ()
    option = "" if path == Path.cwd() / "backup.yaml" else f" --config {path}"
    commands = (*export, f"backup-pipeline doctor{option}", f"backup-pipeline backup {name}{option}")
    return Started(
        str(path),
        name,
        seen.vault if before is None else "",
        len(inventory.tables),
        inventory.bytes,
        variable,
        tool,
        findings,
        commands,
    )


def _presets(inventory: Inventory) -> Mapping[str, tuple[TableId, ...]]:
    """The groups that rules of frameworks know."""
    tables = (
        Table(one.id, columns=tuple(Column(name, kind) for name, kind in one.types.items()))
        for one in inventory.tables
    )
    return resolve(Schema(inventory.engine.name, tuple(tables)))[0].groups


def _before(order: InitOrder, path: Path) -> str | None:
    """The configuration that a system is added to; None where a new one is written."""
    if not order.add:
        if path.exists() and not order.force:
            raise AlreadyExists(
                f"{path} exists already",
                remedy="put the system into it with --add; or write over it with --force",
            )
        return None
    if order.vault or order.force:
        raise UsageError(
            "--add changes neither the vault nor what is there", remedy="leave --vault and --force out"
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}",
            remedy="--add needs a configuration; without it, one is written",
        ) from error


def _tool(source: Source) -> str:
    return next((tool for tool in TOOLS if _applied(source, tool) is not None), "")


def _applied(source: Source, tool: str) -> tuple[str, ...] | None:
    """A table that may not be read yet is a table: `doctor`, which says what is missing, needs the file first."""
    try:
        return source.applied_migrations(tool)
    except PermissionMissing:
        return ()


def _migrations(tool: str, folder: Path, source: Source) -> str:
    """The folder of migrations beside the file, if what is in it can be read."""
    found = initial.migrations_folder(tool, folder)
    if not found:
        return ""
    try:
        migration_state(tool, folder / found, _applied(source, tool))
    except ConfigError:
        return ""
    return found


def _absolute(url: str) -> str:
    """A relative SQLite path on the command line starts where the command was given."""
    return located(url, lambda path: Path(path).absolute())


def _from_here(url: str, folder: Path) -> str:
    """…and in the file, at the file."""
    if not engine_at(url).is_file:
        return url
    scheme, _, rest = _absolute(url).partition(":///")
    path = Path(rest)
    return f"{scheme}:///{path.relative_to(folder) if path.is_relative_to(folder) else path}"


def _beside(path: Path, folder: Path) -> str:
    path = path.expanduser().absolute()
    return f"./{path.relative_to(folder)}" if path.is_relative_to(folder) else str(path)


def _write(path: Path, text: str, *, like: Path | None = None) -> None:
    """Whole or not at all, and not readable by others: people will put a password into it after all. `like`: who may
    read it is as before."""
    staged = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:  # noqa: PTH123 - the descriptor carries the mode
            stream.write(text)
            stream.flush()
            if like is not None:
                os.fchmod(stream.fileno(), like.stat().st_mode & 0o777)
            os.fsync(stream.fileno())
        staged.replace(path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", remedy="check the folder and the disk"
        ) from error
