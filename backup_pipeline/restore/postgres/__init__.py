"""Restoring into PostgreSQL.

`target` the database that is restored to, `plan` what would be done, `definitions` the SQL of the dump and what may
be skipped of it, `rows` the chunks, `post_data` indexes and keys in parallel, `finish` sequences and statistics,
`worker` a process that loads, `undo` what is left of a failure, `run` the conductor.

The driver is psycopg 3: a restore waits for long statements, and Ctrl-C must reach them.
"""
