"""Data ↔ bytes, one way only: sorted keys, no blanks, UTF-8, `None` and empty defaults left out.

The same data always gives the same bytes, so a digest of them means something.
"""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from backup_pipeline.errors import Damaged
from backup_pipeline.model.findings import HEAL_MANIFEST

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

_LEAVES = frozenset((str, int, float, bool))


def plain(value: object) -> Any:
    """Dataclasses, tuples and mappings as what JSON knows. Fields that hold their default are left out."""
    if value is None or type(value) in _LEAVES:
        return value
    if fields := _fields(cast(Any, type(value))):
        out: dict[str, Any] = {}
        for field in fields:
            item = getattr(value, field.name)
            if field.name != "format" and _is_default(field, item):
                continue
            out[field.name] = plain(item)
        return out
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return value


@cache
def _fields(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()


def _is_default(field: dataclasses.Field[Any], item: object) -> bool:
    if field.default is not dataclasses.MISSING:
        return bool(item == field.default) and type(item) is type(field.default)
    return field.default_factory is not dataclasses.MISSING and item == field.default_factory()


def encode(value: object) -> bytes:
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass") + b"\n"


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # Here and not above: worker processes write lines and read no documents, and pydantic is half of their start.
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def loads(data: bytes) -> Any:
    """JSON of any shape. What is wrong with it is a ValueError, brackets without end too."""
    try:
        return json.loads(data.decode("utf-8", "surrogatepass"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def decode(kind: type[T], data: bytes, *, what: str) -> T:
    """Unknown keys are ignored (a later minor version may add some); missing or mistyped ones are damage."""
    try:
        result: T = _adapter(cast(Any, kind)).validate_python(loads(data))
    except ValueError as error:
        raise Damaged(f"{what} is not readable: {_why(error)}", remedy=HEAL_MANIFEST) from error
    return result


def _why(error: ValueError) -> str:
    """In words about the document, and not about the library that read it."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        return f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return f"it is not JSON ({str(error).splitlines()[0]})"
