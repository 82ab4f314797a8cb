"""Merge: rows of a backup go back into a living database. The same code makes the plan, the dry run, the merge and the undo.

Belongs here: what is the same for every engine. `asked` is the request and `rules` what is known of frameworks. `references`
reads what refers to what, and `graph` orders it. `drift` compares two schemas, `shape` decides for each table what is staged and how a
row is known. `closing`, `matching`, `translating` and `writing` are the steps, as set-based SQL over staging tables. `plan`
is the answer. Not here: sessions, staging and locks of an engine (`postgres/merging/`, `sqlite/merging.py`), and the
vault's records (`vault/restores.py`).
"""
