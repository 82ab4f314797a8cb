"""A plan as a file, for a second look or a second person: the order of a merge, and the digest of what it would do.

The file comes from elsewhere, so it is read strictly and it decides nothing: the order in it is planned anew, and the merge is
refused unless the plan comes to the same digest. The file holds no password and no rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from backup_pipeline.databases.merge.plan import MergePlan
from backup_pipeline.errors import RestoreError, UsageError
from backup_pipeline.model.merge_orders import MergeOrder
from backup_pipeline.model.orders import options_of

FORMAT: Literal["backup_pipeline plan 1"] = "backup_pipeline plan 1"
#: The file of a plan has some hundred bytes.
LARGEST = 1 << 20
#: What is typed beside --approve. The rest stands in the file.
BESIDE = frozenset({"live", "to", "dry_run", "show", "rejects", "allow_rejects"})
_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)
_Text = Annotated[str, Field(max_length=10_000)]
_ASKED = {one: how for one, how in options_of(MergeOrder).items() if one.name not in BESIDE}


def _kind(default: object, choices: Any) -> Any:
    """Of a field in JSON, from its default in the order."""
    kinds = {bool: bool, str: _Text, tuple: list[_Text], type(None): _Text | None}
    return Literal[tuple(choices)] if choices else kinds[type(default)]


_FIELDS: dict[str, Any] = {one.name: (_kind(one.default, how.choices), ...) for one, how in _ASKED.items()}
_Asked: Any = create_model("_Asked", __config__=_STRICT, **_FIELDS)


class _File(BaseModel):
    model_config = _STRICT

    format: Literal["backup_pipeline plan 1"]
    system: _Text
    backup: _Text
    #: Without a password.
    target: _Text
    order: _Asked
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{16,128}$")]


@dataclass(frozen=True, slots=True)
class Approved:
    """What the plan of a merge must come to."""

    digest: str
    #: Without a password. "": it is in the digest, and no person named it.
    target: str = ""

    def demand(self, plan: MergePlan) -> None:
        """Raises where the plan is another by now."""
        if self.target and plan.target != self.target:
            raise RestoreError(
                f"the approved plan is for {self.target}, and the target is {plan.target}",
                remedy="name the target of the plan, or make a plan for this one with --plan-file",
            )
        if plan.digest != self.digest:
            raise RestoreError(
                "the plan is another than the one that was approved: the database or the backup has changed since",
                remedy="look at the new plan, and write it with --plan-file to have it approved",
            )


def write(path: Path, order: MergeOrder, plan: MergePlan) -> None:
    """A file that is there already is replaced."""
    values = {one.name: getattr(order, one.name) for one in _ASKED}
    document = {
        "format": FORMAT,
        "system": plan.system,
        "backup": plan.backup_id,
        "target": plan.target,
        "order": {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()},
        "digest": plan.digest,
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path, order: MergeOrder) -> tuple[MergeOrder, Approved]:
    """`order`: what was typed beside --approve."""
    found = _parsed(path)
    if (order.system, order.id or found.backup) != (found.system, found.backup):
        raise UsageError(
            f"{path} is the plan of {found.system} {found.backup}",
            remedy=f"name {found.system}, and no other backup",
        )
    said = [how.spelling(one) for one, how in _ASKED.items() if getattr(order, one.name) != one.default]
    if said:
        raise UsageError(
            f"{', '.join(said)}: the plan of {path} says what is restored",
            remedy="leave it out, or make another plan with --plan-file",
        )
    asked: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in dict(found.order).items()
    }
    return replace(order, id=found.backup, **asked), Approved(found.digest, found.target)


def _parsed(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", remedy="name the file of --plan-file"
        ) from None
    try:
        if len(data) > LARGEST:
            raise ValueError("it is larger than a plan")
        return _File.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first["loc"] else first["msg"]
    except ValueError as error:
        why = str(error)
    raise UsageError(f"{path} is no plan: {why}", remedy="make one with --plan-file")
