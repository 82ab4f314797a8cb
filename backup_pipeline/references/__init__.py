"""References: rows that name rows, rows that name files, and keys that hold once. A backup is checked without a database.

`foreign_keys`, `uniqueness` and `file_references` are the checks; `joining` and `file_joining` join in DuckDB.
"""
