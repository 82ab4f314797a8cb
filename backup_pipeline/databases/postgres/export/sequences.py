"""Where the sequences stand, by oid: a sequence is not locked, so a user may have put a view or a table in its name's place.

A statement that names such a thing would run its code as the login: a view's functions, or those of an index expression,
which the planner computes. Functions that take an oid read the sequence itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backup_pipeline.databases.postgres.export import connect, rights
from backup_pipeline.databases.postgres.export.rights import SequenceRight
from backup_pipeline.errors import SourceChanged
from backup_pipeline.model.manifest import SequenceState

#: From here on the server reads a sequence by oid whole; before, only one that was called at least once.
_WHOLE_SINCE = 180000
_AT_ONCE = 200


def states(connection: connect.Connection) -> tuple[SequenceState, ...]:
    """After the rows: sequences are not transactional, they always show the present. Read last, none is behind the
    rows of the snapshot; it may be ahead, which costs a gap in the numbers and never a duplicate."""
    with connect.explained("reading the sequences", connection):
        listed = rights.sequences(connection)
        if connection.server_version >= _WHOLE_SINCE:
            query = (
                "SELECT s.oid::bigint, d.last_value, d.is_called FROM pg_catalog.unnest(%s::oid[]) s(oid),"
                " LATERAL pg_catalog.pg_get_sequence_data(s.oid::pg_catalog.regclass) d"
            )
        else:
            # This also locks each one until the end of the transaction: its own name cannot change any more.
            query = (
                "SELECT s.oid::bigint, pg_catalog.pg_sequence_last_value(s.oid::pg_catalog.regclass), true"
                " FROM pg_catalog.unnest(%s::oid[]) s(oid)"
            )
        found = connect.rows(connection, query, ([sequence.oid for sequence in listed],))
        known = {oid: (value, called) for oid, value, called in found if value is not None}
        missing = [sequence for sequence in listed if sequence.oid not in known]
        if missing and connection.server_version >= _WHOLE_SINCE:
            raise _replaced(missing)
        for start in range(0, len(missing), _AT_ONCE):
            known |= dict(_never_called(connection, missing[start : start + _AT_ONCE]))
    return tuple(SequenceState(s.id.schema, s.id.name, *known[s.oid]) for s in listed)


def _never_called(
    connection: connect.Connection, sequences: Sequence[SequenceRight]
) -> Iterator[tuple[int, tuple[int, bool]]]:
    """By name, for want of a function; the name is proven right before and right after. Schemas alone can be renamed."""
    names = [connect.quoted(connection, s.id.schema, s.id.name) for s in sequences]
    resolved = connect.rows(
        connection,
        "SELECT pg_catalog.to_regclass(n.name)::oid::bigint FROM pg_catalog.unnest(%s::text[])"
        " WITH ORDINALITY n(name, place) ORDER BY n.place",
        (names,),
    )
    if [oid for (oid,) in resolved] != [s.oid for s in sequences]:
        raise _replaced(sequences)
    # One statement for all: a sequence is a table of one row.
    parts = (f"SELECT tableoid::bigint, last_value, is_called FROM {name}" for name in names)
    found = connect.rows(connection, " UNION ALL ".join(parts))
    if {oid for oid, _, _ in found} != {s.oid for s in sequences}:
        raise _replaced(sequences)
    for oid, value, called in found:
        yield oid, (value, called)


def _replaced(sequences: Sequence[SequenceRight]) -> SourceChanged:
    return SourceChanged(
        f"of {', '.join(str(s.id) for s in sequences[:5])} one was dropped or replaced while the rows were read",
        remedy="run the backup again",
    )
