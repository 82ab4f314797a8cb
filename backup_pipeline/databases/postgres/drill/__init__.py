"""The drill of PostgreSQL.

Belongs here: a scratch database, the comparison of its rows, a write into each of its tables. Not here: the order of a
drill and its file trees (`drills`).
"""
