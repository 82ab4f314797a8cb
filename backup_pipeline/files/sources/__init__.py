"""File trees as sources: local folders, prefixes of a bucket, Dropbox folders."""
