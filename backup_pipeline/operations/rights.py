"""Which places of this machine hold what other accounts are not to read. What is asked of them is in `checks/rights`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from backup_pipeline.config import Settings
from backup_pipeline.config.redaction import SHORTEST
from backup_pipeline.health.rights import Place

if TYPE_CHECKING:
    from backup_pipeline.operations.site import Site

#: An alert to a web server, of which a password or a token is a secret, but not the address as such.
_PLAIN = re.compile(r"(?:json|xml|form)s?://")


def places(site: Site) -> Iterator[Place]:
    settings = site.settings
    group = settings.group
    yield Place("the state folder", settings.state_folder, group)
    if home := os.environ.get("DAGSTER_HOME"):
        yield Place("the Dagster history", Path(home), group)
    for name in ("vault", *settings.copies):
        store = settings.place(name)
        kind, *parts = store.ground(settings.base) or ("",)
        if kind == "folder":
            what = "the vault" if name == "vault" else f"copy {name}"
            yield Place(what, Path(*parts), group)
        if store.key_file is not None:
            yield Place("the key of a server", settings.resolve(store.key_file), told=True)
    if settings.encryption is not None and settings.encryption.identity is not None:
        for path in settings.encryption.identity.files:
            yield Place("the key", path, told=True)
    if settings.file is not None and _holds_a_secret(settings, settings.file):
        yield Place("the configuration, which holds a password", settings.file, group)


def _holds_a_secret(settings: Settings, file: Path) -> bool:
    """One that is written in it, and not one that it refers to."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return False
    known = [alert.get() for alert in settings.alerts if alert.problem is None and not alert.is_asked_later]
    plain = {address for address in known if _PLAIN.match(address)}
    return any(
        len(secret) >= SHORTEST and secret in text for secret in settings.secrets if secret not in plain
    )
