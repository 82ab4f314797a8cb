"""The vault, format 1. FORMAT.md lies here and in every vault.

Belongs here: `layout` names the keys, `objects`, `packs` and `blocks` store and read content, `backup` is the handle of one
backup. `vault` has manifests, the order of writing, locks and proofs. Not here: rows and files as such, and every
rule about which backups stay (`retention`).
"""
