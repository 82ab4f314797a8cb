"""PostgreSQL.

Belongs here: `export` reads, `restore` writes, `drill` proves, `server` runs private servers. Not here: SQLite, and
questions that every engine has (`databases/base`).
"""
