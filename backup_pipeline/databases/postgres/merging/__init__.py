"""A merge's session on PostgreSQL: one connection in one transaction, staging tables in `pg_temp`.

Belongs here: `opening` makes the session, and the other modules are what it does: staging, locks, what must be off while
rows are written, numbers of sequences, foreign keys. Not here: which rows are written (`databases/merge`).
"""
