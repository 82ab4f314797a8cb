"""Restoring into PostgreSQL.

Belongs here: `run` is the conductor, `target` the database, `preflight` the checks before it, and `terms` what is left out and forgiven.
`definitions` decides about each statement of the dump; `runner` runs it, and `untrusted` does so for a source without
trust. `definers` are objects that run with the rights of their owner. `pieces` makes a table in part, `tables` are
those to fill, `rows` the chunks, and `refused` rows that their table refuses. `post_data` makes indexes and keys in
parallel. `finish` has sequences and statistics, `surroundings` settings and rights of the database. `worker` is a
process that loads, and `undo` cleans up after a failure. Not here: reading a live database (`export`), and file trees.

The driver is psycopg 3: a restore waits for long statements, and Ctrl-C must reach them.
"""
