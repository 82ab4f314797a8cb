"""SQLite 3.35 and later: the whole file in one moment, by the online backup API.

One file, one job: `address` URLs, `opening` the live file without a trace beside it, `header` its first bytes, `scratch`
private folders, `snapshot` the copy and its export, `soundness` whether it is whole, `inspection` and `definitions`
file → model, `choosing` and `excluding` a copy without some tables, `rows` and `looking` rows, lines and fingerprints,
`applied` migrations, `diagnosis` the doctor, `explaining` errors.
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
