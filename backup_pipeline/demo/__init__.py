"""A small real shop that is protected, broken and brought back, before your eyes: `make demo`.

What belongs here: the shop and the story. Everything that the story does, it does with the product's own
functions, on a real database, and every figure that it prints was read from it.
"""

from backup_pipeline.demo.story import run

__all__ = ["run"]
