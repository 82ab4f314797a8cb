"""Backups you can prove.

    import backup_pipeline as bp

    bp.backup("shop")                                    # a backup now; its manifest
    bp.verify("shop", "latest").ok                       # every byte still there and right
    bp.drill("shop").report.ok                           # restored for real, compared row for row
    bp.read_table("shop", "latest", "orders")            # one table as a pandas DataFrame
    bp.query("shop", "latest", "select count(*) from orders")
    bp.restore("shop", "latest", to="postgresql://…/shop_new", create=True)
    bp.plan_restore("shop", live=True, only=["orders"]).show()   # rows back into the living database; then .apply()
    bp.undo("shop", "latest")                            # the newest of such restores
    with bp.around("shop", undo_over=5) as work:         # a backup, the block, and what it did to the rows
        cleanup()
    bp.restore_files("shop", to="/srv/media/restored", trees=["media"])
    bp.copy("shop")                                      # what its copies lack
    bp.restore("shop", to="…", config=bp.load().at("offsite"))   # straight from a copy

Every function takes `config=`: the path of a backup.yaml (else $BACKUP_CONFIG, else the current folder), or the Site
that `load` gave. The keywords are the fields of the verb's order
(`model/orders.py`), as are the flags of the command line. Importing this module loads
nothing: the parts come when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backup_pipeline.model.version import __version__

if TYPE_CHECKING:
    from backup_pipeline.api import (
        BackupError,
        Site,
        around,
        backup,
        copy,
        drill,
        list_backups,
        load,
        plan_restore,
        query,
        read_table,
        repair,
        restore,
        restore_files,
        show,
        undo,
        verify,
    )

__all__ = [
    "BackupError",
    "Site",
    "__version__",
    "around",
    "backup",
    "copy",
    "drill",
    "list_backups",
    "load",
    "plan_restore",
    "query",
    "read_table",
    "repair",
    "restore",
    "restore_files",
    "show",
    "undo",
    "verify",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from backup_pipeline import api

    return getattr(api, name)
