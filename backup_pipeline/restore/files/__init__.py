"""Bringing file trees back: a plan first, then every file atomically, verified, and never outside the target folder.

`names` says which paths may be written at all, `anchored` writes below an open folder and nowhere else, `plan` looks at
the target, `run` does what the plan says.
"""

from __future__ import annotations
