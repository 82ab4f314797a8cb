"""backup.yaml → frozen, typed settings. Nothing is read at import; no setting is reached any other way.

Errors name the line, the key and the remedy; unknown keys are errors. A value may be `${env:NAME}` or
`${file:PATH}`, alone or inside a longer string; what came in that way is a secret and is known to `redact`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from croniter import croniter
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from backup_pipeline.errors import ConfigError
from backup_pipeline.model.ids import check_system_name
from backup_pipeline.model.selection import Selection

FILE_NAME = "backup.yaml"
VARIABLE = "BACKUP_CONFIG"

_REFERENCE = re.compile(r"\$\{(env|file):([^}]*)\}")
_SIZE = re.compile(r"\s*(\d+)\s*([kmgt]?)i?b?\s*", re.IGNORECASE)
_DURATION = re.compile(r"\s*(\d+)\s*(s|m|h|d|w)\s*", re.IGNORECASE)


def _size(value: object) -> object:
    """64MB, 64 MiB, 1g or a number of bytes; powers of 1024, as disks and databases count."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " ")
    return value


def _duration(value: object) -> object:
    """36h, 2d, 90m or a number of seconds."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[match[2].lower()]
    return value


Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
Duration = Annotated[int, BeforeValidator(_duration), Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class MigrationSettings(_Strict):
    """Where the project keeps its migrations: files are read, the application is not imported."""

    tool: Literal["alembic", "django", "prisma"]
    path: Path


class SystemSettings(_Strict):
    """One application that is protected."""

    database: SecretStr
    schedule: str | None = None
    drill_schedule: str | None = None
    timezone: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    #: Tables that may be empty without a word; any other table that was full and is empty now is a finding.
    expected_empty: tuple[str, ...] = ()
    workers: Annotated[int, Field(ge=1, le=64)] | None = None
    chunk_size: Size = 64 * 1024 * 1024
    #: Above so many tables the graph shows one asset a schema.
    table_assets: Annotated[int, Field(ge=0)] = 200
    large_objects: Literal["refuse", "exclude"] = "refuse"
    #: Name → SQL that must return no row, on the live data as on a restored backup.
    invariants: Mapping[str, str] = Field(default_factory=dict)
    #: A server on which drills may create (and drop) databases of their own.
    scratch: SecretStr | None = None
    migrations: MigrationSettings | None = None
    #: A backup older than this is not fresh; two of the schedule's intervals unless set.
    fresh_within: Duration | None = None
    #: A drill older than this proves nothing any more.
    proven_within: Duration = 35 * 86400
    owners: tuple[str, ...] = ()
    tags: Mapping[str, str] = Field(default_factory=dict)

    @field_validator("schedule", "drill_schedule")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        if value is not None and not croniter.is_valid(value):
            raise ValueError(
                f'{value!r} is not a cron expression; five fields, e.g. "0 2 * * *" for 02:00 every day'
            )
        return value

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        return None if value is None else _known_zone(value)

    @property
    def url(self) -> str:
        return self.database.get_secret_value()

    @property
    def selection(self) -> Selection:
        return Selection(self.include, self.exclude, groups=dict(self.groups))

    @property
    def jobs(self) -> int:
        return self.workers or max(1, min(4, os.cpu_count() or 1))


class Settings(_Strict):
    """The whole file."""

    vault: str
    systems: Mapping[str, SystemSettings]
    timezone: str = "UTC"
    #: Where this machine keeps what can be rebuilt: inventories, the Dagster instance, caches.
    state: Path = Path(".backup-pipeline")
    #: Apprise URLs: mailto://…, json://…, slack://…
    alerts: tuple[SecretStr, ...] = ()
    #: The folder that relative paths start from: that of the file.
    base: Path = Field(default=Path(), exclude=True)

    @field_validator("systems")
    @classmethod
    def _names(cls, value: Mapping[str, SystemSettings]) -> Mapping[str, SystemSettings]:
        for name in value:
            try:
                check_system_name(name)
            except ConfigError as error:
                raise ValueError(f"{error.message}; {error.remedy}") from error
        return value

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        return _known_zone(value)

    def system(self, name: str) -> SystemSettings:
        if name not in self.systems:
            raise ConfigError(
                f"there is no system {name!r} in the configuration",
                remedy=f"it has: {', '.join(self.systems) or 'none'}",
            )
        return self.systems[name]

    def zone_of(self, name: str) -> str:
        return self.system(name).timezone or self.timezone

    def resolve(self, path: Path | str) -> Path:
        return (self.base / Path(path).expanduser()).resolve()

    @property
    def state_folder(self) -> Path:
        return self.resolve(self.state)


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{name!r} is not a time zone; use a name such as Europe/Berlin") from None
    return name


def locate(path: str | Path | None, environ: Mapping[str, str], folder: Path) -> Path:
    """--config, else $BACKUP_CONFIG, else backup.yaml in the folder."""
    found = Path(path or environ.get(VARIABLE) or folder / FILE_NAME)
    if not found.is_file():
        raise ConfigError(
            f"there is no configuration at {found}",
            remedy=f"name one with --config or ${VARIABLE}, or write one: backup-pipeline init --database URL",
        )
    return found.resolve()


def load(
    path: str | Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    environ = os.environ if environ is None else environ
    found = locate(path, environ, folder or Path.cwd())
    return parse(found.read_text(encoding="utf-8"), name=str(found), base=found.parent, environ=environ)


def parse(text: str, *, name: str, base: Path, environ: Mapping[str, str]) -> Settings:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not YAML: {error}", remedy="mend the line that it names") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{name} holds no settings", remedy="start with `vault:` and `systems:`")
    if "base" in raw:
        raise ConfigError(f"{name}: base: there is no such setting", remedy="remove it")
    filled = _fill(raw, (), base, environ, name, node)
    try:
        settings = Settings.model_validate({**filled, "base": base})
    except ValidationError as error:
        raise ConfigError(_explain(error, name, node), remedy=_remedy(error)) from None
    return settings


def _fill(
    value: Any, at: tuple[Any, ...], base: Path, environ: Mapping[str, str], name: str, node: Any
) -> Any:
    """Put the values of ${env:…} and ${file:…} in."""
    if isinstance(value, dict):
        return {key: _fill(item, (*at, key), base, environ, name, node) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, (*at, i), base, environ, name, node) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def one(match: re.Match[str]) -> str:
        kind, what = match[1], match[2].strip()
        where = f"{name}, line {_line(node, at)}: {_dotted(at)}"
        if kind == "env":
            if what not in environ:
                raise ConfigError(
                    f"{where}: the environment variable {what} is not set", remedy=f"export {what}=…"
                )
            return environ[what]
        path = base / Path(what).expanduser()
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(
                f"{where}: cannot read {path}: {error.strerror}",
                remedy="make that file, readable only by you",
            ) from error

    return _REFERENCE.sub(one, value)


def _line(node: Any, at: tuple[Any, ...]) -> int:
    """The line of a key, or of the nearest thing around it."""
    line = 1
    for step in at:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    line, node = key.start_mark.line + 1, value
                    break
            else:
                break
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _dotted(at: Iterable[Any]) -> str:
    return ".".join(str(step) for step in at)


def _explain(error: ValidationError, name: str, node: Any) -> str:
    lines = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        at = tuple(
            step for step in item["loc"] if not (isinstance(step, str) and step.startswith("function-"))
        )
        said = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            said = "there is no such setting"
        elif item["type"] == "missing":
            said = "this setting is missing"
        lines.append(f"{name}, line {_line(node, at)}: {_dotted(at)}: {said}")
    return "\n".join(lines)


def _remedy(error: ValidationError) -> str:
    kinds = {item["type"] for item in error.errors(include_url=False)}
    known: list[str] = []
    for item in error.errors(include_url=False):
        if item["type"] == "extra_forbidden":
            model = SystemSettings if item["loc"][0] == "systems" else Settings
            known = sorted(set(model.model_fields) - {"base"})
    if known:
        return f"the settings here are: {', '.join(known)}"
    if "missing" in kinds:
        return "the smallest file has `vault:` and under `systems:` one name with a `database:`"
    return "see the configuration page of the documentation"


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Text without the passwords of URLs in it, and without the given secrets."""
    text = re.sub(r"(\w[\w+.-]*://[^:/?#@\s]*):\S*@", r"\1:***@", text)
    text = re.sub(r"(?i)((?:password|secret|token|key)=)[^&\s]+", r"\1***", text)
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, "***")
    return text


def safe_url(url: str) -> str:
    """A URL as it may be shown."""
    try:
        parts = urlsplit(url)
        if parts.password is None and "password=" not in parts.query:
            return url
        host = parts.netloc.rpartition("@")[2]
        user = parts.username or ""
        return redact(urlunsplit(parts._replace(netloc=f"{user}:***@{host}")))
    except ValueError:
        return redact(url)
