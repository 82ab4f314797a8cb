"""A small real shop that is protected, broken and brought back, before your eyes: `make demo`.

What belongs here: the shop and the story. The story uses the product's own functions on a real database. Every figure
in it was read from that database.
"""

from backup_pipeline.demo.story import run

__all__ = ["run"]
