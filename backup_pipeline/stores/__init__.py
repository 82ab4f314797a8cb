"""Stores: the places of bytes.

Belongs here: one contract (`base`), and one file or folder a kind of store. Not here: the meaning of the bytes. A store
names no key of the vault.
"""
