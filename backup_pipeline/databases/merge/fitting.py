"""How values of a type of the backup get into a column of the target: as what they are staged, and whether they are cast.

Belongs here: what is known of the types of each engine, as data. No SQL text of a backup goes into a statement: a type is
staged as the target spells it, as a type that every server has, or as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from backup_pipeline.model.affinity import affinity


@dataclass(frozen=True, slots=True)
class Fit:
    #: The type in staging; "": text.
    staged: str
    #: The type to cast to; "": none is needed.
    cast: str = ""
    #: Nothing is different.
    same: bool = True
    #: What becomes of the values, for the plan.
    done: str = ""
    #: Why no value gets in; "": values do.
    refused: str = ""


#: (type in the backup, type in the target, names of types that are defined otherwise now) → Fit
Fitting = Callable[[str, str, Collection[str]], Fit]

_INTEGERS = ("smallint", "integer", "bigint")
_NUMBERS = (*_INTEGERS, "numeric", "real", "double precision")
_TEXTS = ("text", "character varying", "character", "citext")
_MOMENTS = ("date", "timestamp without time zone", "timestamp with time zone")
#: Types that every PostgreSQL has, as `format_type` spells them without their modifier.
_BUILT_IN = frozenset(
    (
        *(
            *_NUMBERS,
            *_TEXTS[:3],
            *_MOMENTS,
            "boolean",
            "uuid",
            "bytea",
            "json",
            "jsonb",
            "xml",
            "money",
            "oid",
        ),
        *("inet", "cidr", "macaddr", "interval", "time without time zone", "time with time zone"),
    )
)
#: Types without an equality, or with one that is not that of the values: boxes are equal where their areas are.
_NOT_COMPARABLE = frozenset(
    ("json", "xml", "jsonpath", "point", "box", "circle", "path", "polygon", "line", "lseg")
)
#: A modifier stands behind the first word: timestamp(3) without time zone.
_MODIFIER = re.compile(r"\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?\)")


def base(type_: str) -> str:
    """The name of a type, without modifier, brackets and quotes: `numeric(10,2)[]` → `numeric`."""
    name = _MODIFIER.sub("", type_).replace("[]", "").replace('"', "").strip()
    # An extension can stand in any schema.
    return "citext" if name.endswith(".citext") else name


def comparable(type_: str) -> bool:
    """Whether equal values are the same value; else they are compared as text."""
    return base(type_) not in _NOT_COMPARABLE


def domain_base(definition: str) -> str:
    """The type that CREATE DOMAIN … AS names."""
    text = definition.partition(" AS ")[2].rstrip(";")
    return re.split(r" (?:COLLATE|DEFAULT|NOT NULL|CONSTRAINT) ?", text)[0]


def fit_postgres(before: str, now: str, altered: Collection[str]) -> Fit:
    if before == now:
        if base(now) not in altered:
            return Fit(now)
        return Fit("", now, same=False, done=f"read as {now} is defined now")
    old, new = base(before), base(now)
    from_array, to_array = before.endswith("[]"), now.endswith("[]")
    if new in _TEXTS and not to_array:
        return _into_text(before, now)
    if not from_array and not to_array:
        if _widens(before, now):
            return Fit(now, same=False, done=f"every value fits into {now}")
        if _castable(old, new):
            return Fit(before, now, same=False, done=f"cast to {now}, as ALTER TABLE does")
    elif from_array != to_array and (from_array or old not in _TEXTS):
        return _refused(before, now)
    return _by_text(before, now)


def fit_sqlite(before: str, now: str, altered: Collection[str]) -> Fit:
    """A column of SQLite takes each value and converts what its affinity converts without loss."""
    # ANY is a type of STRICT tables, and such a column converts nothing.
    old, new = ("BLOB" if one.upper() == "ANY" else affinity(one) for one in (before, now))
    done = "" if old == new else f"stored as {new} where that loses nothing"
    return Fit(new, same=old == new, done=done)


FITTING: Mapping[str, Fitting] = {"postgres": fit_postgres, "sqlite": fit_sqlite}


def _castable(old: str, new: str) -> bool:
    families = (_NUMBERS, _MOMENTS, ("boolean", "integer"), ("json", "jsonb"))
    return any(old in family and new in family for family in families) or (
        old == "jsonb" and new in (*_NUMBERS, "boolean")
    )


def _by_text(before: str, now: str) -> Fit:
    """PostgreSQL reads each type from text. Where it has no cast that is a guess: 100000 is read as the time 10:00."""
    old, new = base(before), base(now)
    made_here = old not in (*_BUILT_IN, "citext") and new != "bytea"
    if not (old in _TEXTS or new in _TEXTS or made_here or _castable(old, new)):
        return _refused(before, now)
    cast = "text[]" if new in _TEXTS else now
    return Fit("", cast, same=False, done=f"cast from text to {now}: a value that is none is refused")


def _refused(before: str, now: str) -> Fit:
    return Fit("", same=False, refused=f"a merge does not cast {before} to {now}")


def _into_text(before: str, now: str) -> Fit:
    """Never by a cast to the type itself: a cast to character varying(5) cuts the value, and no error tells it."""
    old, limit = base(before), _MODIFIER.search(now)
    done = "refused where it is too long" if limit and not _widens(before, now) else "every value fits"
    if old not in _BUILT_IN or old in ("text", "character varying") or before.endswith("[]"):
        return Fit("", same=False, done=done)
    return Fit(before, "text", same=False, done=f"written as text: {done}")


def _widens(before: str, now: str) -> bool:
    """Whether the text of each value reads as the same value of the other type."""
    old, new = base(before), base(now)
    if old in _INTEGERS and new in _INTEGERS:
        return _INTEGERS.index(old) < _INTEGERS.index(new)
    mine, theirs = _MODIFIER.search(before), _MODIFIER.search(now)
    if theirs is None and new in ("numeric", *_TEXTS):
        return old in (*_INTEGERS, "numeric") if new == "numeric" else old in _TEXTS
    if old != new or new not in ("numeric", "character varying") or mine is None or theirs is None:
        return False
    whole = int(theirs[1]) - int(theirs[2] or 0) >= int(mine[1]) - int(mine[2] or 0)
    return whole and int(theirs[2] or 0) >= int(mine[2] or 0)
