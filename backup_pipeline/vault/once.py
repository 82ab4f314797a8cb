"""A look at many backups (`list`, `status`) in which each manifest is fetched once and taken apart once.

It lasts as long as that look and no longer: a process that lives for weeks has to see what was altered meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from backup_pipeline.vault.vault import Vault

#: How many answers of these methods are remembered. A manifest may have megabytes, so only the last ones are kept (more
#: than are looked at side by side); a scope is a word. What raises is not remembered.
_KEPT: dict[str, int | None] = {"stored_manifest": 32, "manifest": 32, "scope": None}


@contextmanager
def each_read_once(vault: Vault) -> Iterator[None]:
    """For looks that write no manifest."""
    ours = [name for name in _KEPT if name not in vault.__dict__]
    for name in ours:
        # Before the method of the class, as with a cached property.
        vault.__dict__[name] = lru_cache(_KEPT[name])(getattr(vault, name))
    try:
        yield
    finally:
        for name in ours:
            del vault.__dict__[name]
