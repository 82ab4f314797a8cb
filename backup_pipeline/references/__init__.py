"""References: rows that name rows, rows that name files, and keys that hold once.

Belongs here: the checks `foreign_keys`, `uniqueness` and `file_references`; `joining` and `file_joining` join in DuckDB.
Not here: a live database. A backup is checked from its stored bytes.
"""
