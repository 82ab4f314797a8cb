"""Verification: the stored bytes and their structure, compared with the manifest.

Belongs here: `verify` looks at a backup, `scrub` reads the vault in parts, `integrity` judges objects, `structure` judges
manifests. Not here: references between rows (`references`), and a real restore (`drills`).
"""
