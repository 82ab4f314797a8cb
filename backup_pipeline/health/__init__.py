"""The judgement of backups and systems: faults, since when they are there, and their acceptance by a person.

Belongs here: `judging` runs the checks of a fresh backup, in the same way for every caller. `file_checks` are those of file
trees, `losses` those of lost content. `monitors` are the checks of a system between its backups, with `freshness`,
`coverage`, `drift` and `promises`. `open_findings` are faults that no later look has ended; `acknowledgements` is the record of
`ack`. `overview` and `storage` sum up. `machine`, `room`, `rights`, `keys` and `copy_places` are parts of `doctor`.
`diagnosis` explains an error where there are copies. Not here: Dagster, the command line, and delivery (`alerts`).
"""
