"""A small real shop that is protected, broken and brought back, before your eyes: `make demo`.

Belongs here: the shop and the story. Not here: work of its own. The story uses the product's own functions on a real
database, and every figure in it was read from that database.
"""

from backup_pipeline.demo.story import run

__all__ = ["run"]
