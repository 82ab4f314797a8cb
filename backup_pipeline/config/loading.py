"""From a file to `Settings`: find it, read it, put the references in, check it, and say all that is wrong at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from backup_pipeline.config.problems import (
    Key,
    Problem,
    dotted,
    duplicates,
    from_pydantic,
    line_of,
    not_yaml,
    refuse,
)
from backup_pipeline.config.references import (
    BrokenReference,
    Deferred,
    Resolved,
    Secret,
    SecretToken,
    is_remote,
    resolve,
)
from backup_pipeline.config.settings import Settings
from backup_pipeline.errors import ConfigError

FILE_NAME = "backup.yaml"
VARIABLE = "BACKUP_CONFIG"


def locate(path: str | Path | None, environ: Mapping[str, str], folder: Path) -> Path:
    """--config, else $BACKUP_CONFIG, else backup.yaml in the folder."""
    found = Path(path or environ.get(VARIABLE) or folder / FILE_NAME).expanduser()
    if found.is_dir():
        found = found / FILE_NAME
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
    try:
        text = found.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{found} is not UTF-8 text", remedy="save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(
            f"cannot read {found}: {error.strerror}", remedy="check who owns it, and its mode"
        ) from error
    return parse(text, name=str(found), base=found.parent, environ=environ).read_from(found)


_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


def parse(text: str, *, name: str, base: Path, environ: Mapping[str, str]) -> Settings:
    node, raw, problems = _read(text, name)
    if "base" in raw:
        problems.append(Problem(line_of(node, ("base",)), "base", "there is no such setting", "remove it"))
        del raw["base"]
    filler = _Filler(base, environ, name, node)
    filled = filler.fill(raw, ())
    problems += filler.problems
    try:
        settings = Settings.model_validate({**filled, "base": base})
    except ValidationError as error:
        found = from_pydantic(
            error.errors(include_url=False, include_input=False, include_context=False), node
        )
        # A setting whose reference is broken is not also wrong in what it says.
        said = {problem.key for problem in problems}
        raise refuse(name, [*problems, *(p for p in found if p.key not in said)]) from None
    if problems:
        raise refuse(name, problems)
    return settings


def _read(text: str, name: str) -> tuple[yaml.Node | None, dict[Any, Any], list[Problem]]:
    """The tree (for its lines), the values, and the keys that stand twice."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        # Before construction, which mixes what `<<:` brings in with a mapping's own keys.
        problems = duplicates(node)
        names_as_texts(node)
        raw = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        raise refuse(name, [not_yaml(error, text)]) from None
    finally:
        loader.dispose()
    if not isinstance(raw, dict):
        raise refuse(
            name, [Problem(1, "", "the file holds no settings", "start with `vault:` and `systems:`")]
        )
    return node, raw, problems


def names_as_texts(node: yaml.Node | None) -> None:
    """Keys are names: a copy that is called `off`, `on` or `no` is not a truth value, as YAML would have it."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                key.tag = _TEXT
            names_as_texts(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            names_as_texts(item)


@dataclass(frozen=True, slots=True)
class _Filler:
    """Puts the values of `${env:…}` and `${file:…}` in."""

    base: Path
    variables: Mapping[str, str]
    name: str
    node: yaml.Node | None
    problems: list[Problem] = field(default_factory=list)

    def fill(self, value: Any, at: Key) -> Any:
        if isinstance(value, dict):
            return {key: self.fill(item, (*at, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, (*at, index)) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        kind = _kind_at(at)
        if is_remote(value):
            return self._later(value, at, kind)
        try:
            resolved = resolve(value, self.variables, self.base)
        except BrokenReference as broken:
            problem = Problem(line_of(self.node, at), dotted(at), broken.said, broken.remedy)
            if kind is not None and not broken.misspelt:
                return kind(value, problem=refuse(self.name, [problem]))
            self.problems.append(problem)
            return value
        if kind is None:
            return resolved.text
        if not resolved.text and resolved.values:
            # A variable that is set to nothing is a mistake of the environment, not of the file.
            empty = Problem(
                line_of(self.node, at), dotted(at), "what it refers to is empty", "give it a value"
            )
            return kind(value, problem=refuse(self.name, [empty]))
        if not resolved.text:
            return resolved.text
        return kind(resolved.text, resolved.values, files=resolved.files)

    def _later(self, value: str, at: Key, kind: type[Deferred] | None) -> Deferred | str:
        line, key = line_of(self.node, at), dotted(at)
        if kind is None:
            said = "a secret of AWS can only stand where an address or a secret is wanted"
            self.problems.append(Problem(line, key, said, "write the value here, or ${env:NAME}"))
            return value
        return kind(value, later=_Asked(value, self.variables, self.base, self.name, line, key))


@dataclass(frozen=True, slots=True)
class _Asked:
    """Puts the values of a text in when it is used. Where it stood is part of what can go wrong."""

    text: str
    variables: Mapping[str, str]
    base: Path
    name: str
    line: int
    key: str

    def __call__(self) -> Resolved:
        try:
            found = resolve(self.text, self.variables, self.base)
        except BrokenReference as broken:
            raise refuse(self.name, [Problem(self.line, self.key, broken.said, broken.remedy)]) from broken
        if not found.text:
            raise refuse(
                self.name, [Problem(self.line, self.key, "what it refers to is empty", "give it a value")]
            )
        return found


#: Settings whose values are never shown, wherever they stand.
_SECRETS = frozenset(
    {
        "access_key_id",
        "app_secret",
        "identity",
        "password",
        "refresh_token",
        "secret_access_key",
        "session_token",
        "token",
    }
)
_ADDRESSES = frozenset({"url", "endpoint", "path", "bucket"})


def _kind_at(at: Key) -> type[Deferred] | None:
    """The settings that are only needed when something is opened."""
    last = at[-1] if at else None
    store = at[:1] in (("vault",), ("copies",))
    tree = len(at) == 5 and at[0] == "systems" and at[2] == "files"
    if at == ("vault",) or (len(at) == 2 and at[0] == "copies"):
        return Deferred
    if (store or tree or at[:1] == ("encryption",)) and last in _SECRETS:
        return Secret
    if (store or tree) and last in _ADDRESSES:
        return Deferred
    if len(at) == 2 and at[0] == "alerts":
        return SecretToken
    if len(at) == 3 and at[0] == "systems" and at[2] in ("database", "scratch"):
        return Secret
    return None
