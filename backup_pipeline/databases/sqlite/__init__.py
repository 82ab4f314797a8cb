"""SQLite.

Belongs here: `export` reads, `restore` writes a file, `drill` proves it, `examining` looks into a stored file. Not here:
PostgreSQL, and questions that every engine has (`databases/base`).
"""
