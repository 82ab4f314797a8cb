"""Databases: one folder an engine, and one entry in the table of `engines`.

Belongs here: `base` has the contracts of a source and of a target, `restore_plan` the plan and the result of a restore.
`same_schema` and `differing` compare two databases. Not here: the vault's place, which a source never learns, and the
order of a whole backup (`backups`) or restore (`restores`). An engine's driver is imported in the engine's folder only.
"""
