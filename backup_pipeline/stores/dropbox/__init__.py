"""Dropbox as a store.

Belongs here: `store` is the store, `upload` its writes. Not here: signing in (`services`), and folders as a source
(`files/sources`).
"""
