"""The vault, format 1 (FORMAT.md, which lies here and in every vault).

`layout` names the keys, `objects` and `blocks` store and read content, `vault` holds what a backup is:
manifests, the order in which things are written, locks, proofs.
"""
