"""File trees.

Belongs here: `sources` read folders, buckets and Dropbox, `store` puts them into the vault, `restore` brings them back.
Not here: the references of rows to files (`references`), and the manifest (`backups`).
"""
