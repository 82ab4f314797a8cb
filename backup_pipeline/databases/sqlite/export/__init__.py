"""SQLite 3.35 and later: the whole file in one moment, by the online backup API.

Belongs here: one file a job. `address` has URLs, `opening` opens the live file without a trace beside it, and `header`
reads its first bytes. `snapshot` is the copy and its export, in private folders of `scratch`; `soundness` checks that
it is whole. `inspection` and `definitions` turn the file into the model. `choosing` and `excluding` make a copy without
some tables. `rows` and `looking` have rows, lines and fingerprints. `applied` reads migrations, `diagnosis` is the
doctor, `explaining` has errors. Not here: writing a file (`restore`), and the vault, which a source never learns.
"""

from backup_pipeline.databases.sqlite.export.rows import (
    columns_of,
    fingerprint_table,
    read_lines,
    read_rows,
    reading_file,
)
from backup_pipeline.databases.sqlite.export.source import SqliteSource

__all__ = [
    "SqliteSource",
    "columns_of",
    "fingerprint_table",
    "read_lines",
    "read_rows",
    "reading_file",
]
