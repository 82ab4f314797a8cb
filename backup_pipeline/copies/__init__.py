"""Copies: other stores that hold the same backups, byte for byte.

Belongs here: sending backups to a copy, and repair from a place that is right. Not here: decryption; nothing here needs
a key. A copy is a vault, so that everything that reads a vault reads a copy.
"""

from backup_pipeline.copies.compare import Comparison, compare
from backup_pipeline.copies.lag import measured_lag
from backup_pipeline.copies.repair import RepairReport, repair
from backup_pipeline.copies.replicate import CopyReport, replicate
from backup_pipeline.model.overview import CopyLag

__all__ = [
    "Comparison",
    "CopyLag",
    "CopyReport",
    "RepairReport",
    "compare",
    "measured_lag",
    "repair",
    "replicate",
]
