"""Bringing file trees back: a plan first, then every file atomically, verified, and never outside the target folder.

Belongs here: `names` has the allowed paths, `looking` compares the listing with the target, `files_plan` is the plan,
`run` carries it out. `anchored` works below an open folder, `writing` writes one whole file at a time. Not here: the
choice of backup and tree (`operations`). Worker processes import this package, so it imports nothing.
"""
