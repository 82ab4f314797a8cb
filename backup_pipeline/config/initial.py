"""The first backup.yaml: written after a look at the database, with comments for a later reader.

Pure: what was seen goes in, text comes out. No password is ever in it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from backup_pipeline.config.frameworks import Framework
from backup_pipeline.config.redaction import passwords_in
from backup_pipeline.model.ids import RESERVED
from backup_pipeline.model.inventory import Inventory, InventoryTable
from backup_pipeline.model.schema import TableId

#: Names that say nothing about the application.
_NAMELESS = frozenset(
    {"postgres", "app", "db", "database", "main", "data", "prod", "production", "test", "default"}
)
#: Tables that hold what can be made again, or that grow without end: worth a thought, never left out unasked.
_DISPENSABLE = re.compile(
    r"(^|_)(sessions?|cache|caches|logs?|audits?|events?|jobs|queue|tmp|temp|celery\w*|failed_jobs)$|^django_session$"
)
_WORTH_A_THOUGHT = 10 * 1024 * 1024
_COMMENTED = 200

#: Where each tool keeps its migrations, most usual first.
MIGRATION_FOLDERS = {
    "alembic": ("alembic", "migrations", "db/migrations"),
    "django": (".", "src", "backend"),
    "prisma": ("prisma/migrations", "prisma", "db/migrations"),
}
_MARKS = {"alembic": "versions", "django": "manage.py", "prisma": "migration_lock.toml"}


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What `init` found."""

    system: str
    #: As it will stand in the file: without a password.
    database: str
    #: The variable that has to be set; "" when there is no secret.
    variable: str
    vault: str
    inventory: Inventory
    #: alembic, django, prisma or "".
    migrations_tool: str = ""
    #: Relative to the file; "" when no folder was found.
    migrations_path: str = ""
    framework: Framework | None = None
    #: Preset of the rules → its tables.
    presets: Mapping[str, tuple[TableId, ...]] = field(default_factory=dict)


def system_name(database: str, folder: Path) -> str:
    """A name from the database's; from the folder's where that one says nothing."""
    for candidate in (PurePosixPath(database).stem, folder.name, "app"):
        name = re.sub(r"[^a-z0-9]+", "_", candidate.lower()).strip("_")[:63]
        if name and name not in _NAMELESS and name not in RESERVED:
            return name if name[0].isalpha() else f"db_{name}"[:63]
    return "app"


def database_name(url: str) -> str:
    try:
        return urlsplit(url).path.lstrip("/") or urlsplit(url).username or ""
    except ValueError:
        return ""  # a "[" in a password: the connection tells what is wrong with the address


def without_password(url: str, system: str, environ: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The URL as it may be written, and the variable that it then needs.

    A variable that already holds this very URL is used as a whole; else only the password is replaced.
    """
    secrets = passwords_in(url)
    if not secrets:
        return url.replace("${", "$${"), ""
    for name, value in environ:
        if value == url:
            return f"${{env:{name}}}", name
    variable = f"{system.upper()}_DATABASE_PASSWORD"
    text = url.replace("${", "$${")
    for secret in sorted(secrets, key=len, reverse=True):
        # Only where passwords stand: one that is equal to the user's name must not replace that, too.
        text = re.sub(rf"(:|password=){re.escape(secret)}(?=@|&|$)", rf"\1${{env:{variable}}}", text)
    return text, variable


def migrations_folder(tool: str, base: Path) -> str:
    """The folder that looks like the tool's, relative to `base`; "" when there is none."""
    for candidate in MIGRATION_FOLDERS.get(tool, ()):
        folder = base / candidate
        if (folder / _MARKS[tool]).exists():
            return candidate
    return ""


def text(seen: FirstLook) -> str:
    return f"{_head(seen)}systems:\n{system_text(seen)}"


def system_text(seen: FirstLook) -> str:
    """The lines of the system alone, as they stand below `systems:`."""
    parts = [_system(seen), _tables(seen), _groups(seen), _migrations(seen), _files(seen), _more(seen)]
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def _head(seen: FirstLook) -> str:
    found = seen.inventory
    engine = {"postgres": "PostgreSQL", "sqlite": "SQLite"}.get(found.engine.name, found.engine.name)
    return f"""\
# What is backed up, to where, and when. Every setting: `backup-pipeline help config`.
# Written by `backup-pipeline init` after a look at the database: {engine} {_one_line(found.engine.version)},
# {len(found.tables)} tables, {found.bytes / 2**20:.1f} MiB.

# The folder that backups are written to, relative to this file. Put it on another disk, better on another machine.
vault: {quoted(seen.vault)}

# Every backup is copied to these as well: folders, s3://bucket/prefix, sftp://user@host/path, dropbox:///FOLDER.
# copies:
#   second_disk: /mnt/second/backups

# The backups cannot be read without the key: `backup-pipeline keygen` makes one and prints these lines.
# To be decided before the first backup: a vault that was begun plain stays plain.
# encryption:
#   recipients: [age1…]
#   identity: ${{file:backup-key.txt}}

# Which backups stay. Without it nothing is ever removed.
# retention: {{last: 7, daily: 30, weekly: 8, monthly: 12, min_age_days: 7, schedule: "30 5 * * *"}}

# The zone of every schedule below.
timezone: UTC

# Told when a run or a check fails (Apprise: mailto://, slack://, json:// …).
# alerts: ["${{env:ALERT_URL}}"]

"""


def _system(seen: FirstLook) -> str:
    secret = ""
    if seen.variable:
        # Where it is the password before "@", `config.references` encodes it.
        percent = (
            "\n    # It stands in a query: write & as %26, # as %23."
            if "password=${" in seen.database
            else ""
        )
        secret = f"""
    # The password is not in this file: it comes from the variable {seen.variable}.
    # (${{file:/run/secrets/…}} reads it from a file.){percent}"""
    return f"""\
  {seen.system}:{secret}
    database: {quoted(seen.database)}
    # Where this database stands: rows of a backup with another marker never go into it.
    # environment: production

    # Minute, hour, day, month, weekday: every night at 02:00. `backup-pipeline ui` runs the daemon that keeps to it.
    schedule: "0 2 * * *"
    # A backup is proven by a restore: every Sunday at 04:00 into a scratch database, compared row for row.
    drill_schedule: "0 4 * * 0"
"""


def _tables(seen: FirstLook) -> str:
    heavy = [
        table
        for table in sorted(seen.inventory.tables, key=lambda one: -one.bytes)
        if table.bytes >= _WORTH_A_THOUGHT and _DISPENSABLE.search(table.id.name)
    ][:10]
    used = seen.framework.dispensable if seen.framework else ()
    chosen = dict.fromkeys((*used, *(table.id for table in heavy)))
    names = ", ".join(quoted(_escaped(one)) for one in chosen)
    lines = ["    # Everything is taken unless it is excluded; what is excluded is named in every report."]
    if heavy:
        sizes = ", ".join(f"{_one_line(t.id.name)} {t.bytes / 2**20:.0f} MiB" for t in heavy)
        lines.append(f"    # These may be worth a thought: {sizes}.")
    if used:
        made = ", ".join(_one_line(one.name) for one in used)
        lines.append(
            f"    # The rows of {made} are made again by logging in; an excluded table stays, without its rows."
        )
    lines.append(f"    # exclude: [{names or quoted('*_log')}]")
    return "\n".join(lines) + "\n"


def groups_of(tables: Sequence[InventoryTable]) -> dict[str, tuple[str, ...]]:
    """Schemas where there are several, else prefixes that several tables share (`auth_user`, `auth_group`)."""
    schemas = sorted({table.id.schema for table in tables})
    if len(schemas) > 1:
        return {_group_name(schema): (f"{_glob(schema)}.*",) for schema in schemas[:8]}
    prefixes = Counter(table.id.name.partition("_")[0] for table in tables if "_" in table.id.name.strip("_"))
    common = sorted(prefix for prefix, count in prefixes.most_common(8) if count > 1 and prefix)
    return {_group_name(prefix): (f"{_glob(prefix)}_*",) for prefix in common}


def _groups(seen: FirstLook) -> str:
    presets = {name: tuple(_escaped(one) for one in tables) for name, tables in seen.presets.items()}
    found = {**groups_of(seen.inventory.tables), **presets}
    some = tuple(_escaped(table.id) for table in seen.inventory.tables[:2])
    lines = ["    # Tables by a name of their own, for `backup --only NAME` and `restore --only NAME`:"]
    if presets:
        lines.append(
            f"    # {', '.join(presets)}: found by their names. Without these lines they are the same tables."
        )
    lines.append("    # groups:")
    for name, globs in (found or {"core": some or ("users", "roles")}).items():
        lines.append(f"    #   {name}: [{', '.join(quoted(one) for one in globs)}]")
    return "\n".join(lines) + "\n"


def _migrations(seen: FirstLook) -> str:
    if not seen.migrations_tool:
        return ""
    head = f"    # The database knows migrations of {seen.migrations_tool}: a sensor makes a backup before pending ones run."
    if seen.migrations_path:
        return f"""{head}
    migrations:
      tool: {seen.migrations_tool}
      path: {quoted(seen.migrations_path)}
"""
    return f"""{head}
    # migrations:
    #   tool: {seen.migrations_tool}
    #   path: {MIGRATION_FOLDERS[seen.migrations_tool][0]}
"""


def _files(seen: FirstLook) -> str:
    """Of a framework that was found with its folder: as it is, and not as a comment."""
    framework = seen.framework
    head = "    # Files that belong to the rows, in the same recovery point; `refs` says which columns name them."
    if framework is None or not framework.refs:
        return f"""\
{head}
    # files:
    #   media:
    #     path: ./media
    #     refs: {{uploads.file: path}}
"""
    mark = "" if framework.folder else "# "
    found = (
        f"Found as {framework.name} keeps them: look whether these are all columns, and no other."
        if framework.folder
        else f"{framework.name} has files, and their folder was not found from here."
    )
    refs = "\n".join(
        f"    {mark}      {quoted(column)}: {kind}" for column, kind in sorted(framework.refs.items())
    )
    return f"""\
{head}
    # {found}
    {mark}files:
    {mark}  {framework.tree}:
    {mark}    path: {quoted(framework.folder or f"./{framework.tree}")}
    {mark}    refs:
{refs}
"""


def _more(seen: FirstLook) -> str:
    scratch = ""
    if seen.inventory.engine.name == "postgres":
        scratch = """
    # Drills restore into a throw-away server on this machine; or name one on which databases may be made and dropped:
    # scratch: ${env:SCRATCH_URL}
"""
    return f"""\
    # SQL that must return no row: tried on what a drill restored.
    # invariants:
    #   no order without a customer: SELECT id FROM orders WHERE customer_id IS NULL
{scratch}
    # `status` complains when the newest backup, or the last drill, is older than this.
    # fresh_within: 36h
    # proven_within: 35d
"""


def quoted(value: str) -> str:
    """JSON's strings are YAML's, too."""
    return json.dumps(value, ensure_ascii=False)


def _one_line(value: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]+", " ", value)[:_COMMENTED]


def _glob(name: str) -> str:
    """A name as a pattern that matches just it."""
    return re.sub(r"([*?\[])", r"[\1]", name).replace("${", "$${")


def _escaped(table: TableId) -> str:
    name = _glob(table.name)
    return name if table.schema in ("public", "main") else f"{_glob(table.schema)}.{name}"


def _group_name(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-")
    return plain if plain[:1].isalpha() else f"group_{plain}"
