"""What PostgreSQL says of an error, in two parts: what may be recorded anywhere, and what holds values of rows.

"Failing row contains (1, AIDS, …)" is for the user at a terminal alone. The history of runs, an alert and a log must
not have it. The rule is here; `export.connect` and `restore.failure` apply it.
"""

from __future__ import annotations

import re
from typing import Any

#: Classes whose detail, context or words quote rows: data exceptions, broken constraints, a view's check option, and what
#: functions of users raise.
_OF_ROWS = ("21", "22", "23", "44", "P0")
#: Of these, whose first line quotes a value. Constraints are named and not quoted; a bad byte is no value.
#: 42601 is a value that is no tsquery.
_QUOTING = ("22", "P0", "42601")
_NO_VALUE = ("22021", "22P04", "22P05")
#: Of the context: where in a COPY it was, and in which function. Not `SQL statement "INSERT … VALUES ('…')"`.
_PLACE = re.compile(
    r"^(?:COPY .+?, line \d+(?:, column [^:\n]+)?|(?:PL/\w+|SQL) function [^\n]*)", re.MULTILINE
)


def inside_something(error: Any) -> bool:
    """In a function or a COPY: code of the source may have said it."""
    return bool(error.diag.context)


def told(error: Any) -> tuple[str, str]:
    """(what may be recorded; all that was said, where that holds values of rows).

    The error of the driver loses them, too: a history of runs writes down the whole chain of causes."""
    diag = error.diag
    if not diag.message_primary:
        return str(error).strip(), ""  # no session yet: libpq's own words, or the driver's
    state = str(diag.sqlstate or "")
    context = str(diag.context or "")
    raised = state.startswith("P0") or " at RAISE" in context
    # In a function (EXECUTE of a text that it made) and in a COPY any error may quote a row.
    inside = inside_something(error)
    of_rows = raised or inside or state.startswith((*_OF_ROWS, "42601"))
    first = str(diag.message_primary)
    if raised:
        first = "a function of the database raised an exception"
    elif (inside or state.startswith(_QUOTING)) and state not in _NO_VALUE:
        first = re.sub(r'"(.*)"', '"…"', first, flags=re.DOTALL)
    about = [f"constraint {diag.constraint_name}"] if diag.constraint_name else []
    about += [f"table {diag.schema_name}.{diag.table_name}"] if diag.table_name else []
    about += [f"SQLSTATE {state}"] if of_rows else []
    lines = [f"{first} ({', '.join(about)})" if about else first]
    lines += [str(diag.message_detail)] if diag.message_detail and not of_rows else []
    text = "\n".join(lines + _PLACE.findall(context))
    everything = "\n".join(str(part) for part in (diag.message_primary, diag.message_detail, context) if part)
    if of_rows:
        error.args = (text,)
    return text, everything if of_rows else ""
