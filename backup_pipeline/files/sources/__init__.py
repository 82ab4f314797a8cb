"""File trees as sources: local folders, prefixes of a bucket, Dropbox folders.

Belongs here: the contract in `base`, and one file a kind of source. Not here: the vault, which a source never learns.
"""
