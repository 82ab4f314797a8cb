"""File trees: `sources` read folders, buckets and Dropbox, `store` puts them into the vault, `restore` brings them back.

The references of rows to files belong to references/.
"""
