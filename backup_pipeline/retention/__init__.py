"""Retention: how long backups stay.

Belongs here: the choice of backups with its reasons (pure), the removal of the others, and the sweep of unnamed objects.
Not here: the deletion in a store (`stores`), and the keys of the vault (`vault`).
"""
