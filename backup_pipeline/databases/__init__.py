"""Databases: one folder an engine, and one entry in the table of `engines`.

`base` holds the contracts of a source and of a target, `plan` the plan and the result of a restore. `same_schema` and
`differing` compare two databases. An engine's driver is imported in the engine's folder only.
"""
