"""What can be done: one file a verb, `f(site, order, listener) → Result`. The CLI, the Dagster graph and the Python API call
these functions and nothing below them, so the three cannot come to differ.

What belongs here: the way from a Site and an Order (`model/orders.py`) to the rooms that do the work, and what is remembered
of it. What does not: how a thing is done (the rooms below), and how it looks (the skins above).
"""

from __future__ import annotations

from backup_pipeline.operations.site import Site

__all__ = ["Site"]
