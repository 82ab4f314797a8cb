"""Vaults as earlier versions wrote them, kept for ever: what was stored once must be read by every later version.

A folder is never written again. When the format gets a new version, a vault of that version is added beside it
(`python -m backup_pipeline_tests.golden.make format-2`); the old ones stay.
"""
