"""Verification: the stored bytes and their structure, compared with the manifest.

`verify` looks at a backup, `scrub` reads the vault in parts, `integrity` judges objects, `structure` judges manifests.
"""
