"""Restoring into PostgreSQL.

`target` the database that is restored to, `plan` what would be done, `terms` what is left out and forgiven, `definitions`
what is to be done with each statement of the dump, `runner` that does it, `untrusted` the same for a source that is not
trusted, `definers` what runs with the rights of its owner, `pieces` a table of which something cannot be made, `tables`
what can be filled, `rows` the chunks, `refused` rows that their table refuses, `post_data` indexes and keys in parallel,
`finish` sequences and statistics, `surroundings` settings and rights of the database, `worker` a process that loads,
`undo` what is left of a failure, `run` the conductor.

The driver is psycopg 3: a restore waits for long statements, and Ctrl-C must reach them.
"""
