"""SFTP as a store.

Belongs here: `store` is the store, `session` its connection, `upload` its writes. Not here: other protocols.
"""
