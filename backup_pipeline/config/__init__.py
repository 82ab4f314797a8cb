"""backup.yaml → frozen, typed settings.

Belongs here: `settings` has the settings, and `loading` reads the file. `references` puts `${env:…}`, `${file:…}` and
`${aws-secret:…}` in. `problems` names the faults of a file. `redaction` keeps secrets out of all output. `initial` writes
the first file. Not here: work with a setting. Nothing is read at import, and no setting is reached any other way.

The parts load when they are asked for: a worker process that only redacts need not pay for the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backup_pipeline.config.redaction import redact, safe_url

if TYPE_CHECKING:
    from backup_pipeline.config.encrypting import EncryptionSettings
    from backup_pipeline.config.loading import FILE_NAME, VARIABLE, load, locate, parse
    from backup_pipeline.config.references import Deferred, Secret
    from backup_pipeline.config.retention import RetentionSettings, ScrubSettings
    from backup_pipeline.config.settings import MigrationSettings, Settings, SystemSettings
    from backup_pipeline.config.storing import LifecycleSettings, PrunerSettings, StoreSettings
    from backup_pipeline.config.trees import FilesSettings, ReferenceSettings

__all__ = [
    "FILE_NAME",
    "VARIABLE",
    "Deferred",
    "EncryptionSettings",
    "FilesSettings",
    "LifecycleSettings",
    "MergeDerived",
    "MergePolymorphic",
    "MergeReference",
    "MergeSettings",
    "MergeTable",
    "MergeValue",
    "MigrationSettings",
    "PrunerSettings",
    "ReferenceSettings",
    "RetentionSettings",
    "ScrubSettings",
    "Secret",
    "Settings",
    "StoreSettings",
    "SystemSettings",
    "load",
    "locate",
    "parse",
    "redact",
    "safe_url",
]

_PARTS = {
    "loading": ("FILE_NAME", "VARIABLE", "load", "locate", "parse"),
    "references": ("Deferred", "Secret"),
    "encrypting": ("EncryptionSettings",),
    "merging": (
        "MergeDerived",
        "MergePolymorphic",
        "MergeReference",
        "MergeSettings",
        "MergeTable",
        "MergeValue",
    ),
    "retention": ("RetentionSettings", "ScrubSettings"),
    "storing": ("LifecycleSettings", "PrunerSettings", "StoreSettings"),
    "trees": ("FilesSettings", "ReferenceSettings"),
    "settings": ("MigrationSettings", "Settings", "SystemSettings"),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for part, names in _PARTS.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{part}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
