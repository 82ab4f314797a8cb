"""Copies: other stores that hold the same backups, byte for byte.

A copy is a vault, so that everything that reads a vault reads a copy. Nothing here decrypts, and nothing needs a key.
"""
