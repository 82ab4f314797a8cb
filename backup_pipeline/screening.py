"""Looks at definitions before they are stored: what a faithful dump does not hold is refused."""

from __future__ import annotations

from backup_pipeline.errors import NotSupported, RestoreError
from backup_pipeline.restore.statements import split

#: (section, made by, SQL text), as `sources.base.Snapshot.ddl` gives them.
Section = tuple[str, str, bytes]


def refuse_commands(sections: tuple[Section, ...]) -> None:
    r"""The text of a view is what the server says it is. One that says `SELECT 1; \! rm -rf /` has the second part run
    by psql, as whoever restores (CVE-2025-8714)."""
    for name, _, text in sections:
        if b"\\" not in text:
            continue
        try:
            for _ in split(text.decode("utf-8", "surrogateescape")):
                pass
        except RestoreError as error:
            raise NotSupported(
                f"{name}, {error.message}",
                remedy="no honest server writes such a line: see which view, rule or function it stands in, who could "
                "change what the server says of it, and do not run a dump of this database with psql",
            ) from None
