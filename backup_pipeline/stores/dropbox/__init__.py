"""Dropbox: `store` is the store, `upload` its writes."""
