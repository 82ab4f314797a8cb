"""A vault for one look at many backups (`list`, `status`, a tick of `watch`): each manifest is fetched and taken apart once.

It is thrown away with that look. A process that lives for weeks keeps its own vault, and sees what was altered meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from backup_pipeline.vault.vault import Vault

#: How many answers of these methods are remembered. A manifest may have megabytes, so only the last ones are kept (more
#: than are looked at side by side); a scope is a word. What raises is not remembered.
_KEPT: dict[str, int | None] = {"stored_manifest": 32, "manifest": 32, "scope": None}


def once(vault: Vault) -> Vault:
    """For looks that write no manifest."""
    look = replace(vault)
    for name, kept in _KEPT.items():
        # Before the method of the class, as with a cached property.
        look.__dict__[name] = lru_cache(kept)(getattr(look, name))
    return look
