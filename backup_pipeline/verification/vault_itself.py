"""What lies at the top of a vault: the file that says what it is, and the description of its format."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib import resources

from backup_pipeline.errors import NotFound
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import is_system_name
from backup_pipeline.stores.base import read_all
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault

#: Digests of the FORMAT.md of earlier releases: a vault keeps the one with which it was made.
EARLIER_DESCRIPTIONS: frozenset[str] = frozenset(
    {
        "f039651145d0ac3b99747d65261bcf21fe221ac9616b791604c1435c91a1ff53",  # databases only
        "940e63a382cd394bcd7020caaa5638933dccb347e98f9ff682d9c2dedd090b41",  # [K8] spoke of bytes alone
        "8cc3a481003c6a446ec10f24f9d8193f850a8f118188aba6a4dfbe004d153bf1",  # without bounds and signatures
        "ee4622c53df91c2c91f3b820c027439de2a0cf4540ee43abcaf8a80f2adef3f6",  # an end of a restore was written once
    }
)

_REMEDY = "copy it from another copy of the vault, or from a new vault made by the same version"


def look_for_foreign_folders(vault: Vault) -> Iterator[Finding]:
    ours = {key.partition("/")[0] for key in (layout.OBJECTS, layout.SET_ASIDE, "tmp/")}
    foreign = sorted(one for one in vault.store.folders() if one not in ours and not is_system_name(one))
    if foreign:
        yield Finding.of(
            "foreign-folder", folders=", ".join(map(repr, foreign[:5])), more=" …" * (len(foreign) > 5)
        )


def look_at_the_vault(vault: Vault) -> Iterator[Finding]:
    expected = canonical.encode(vault.info)
    try:
        held = read_all(vault.store, layout.VAULT)
    except NotFound:
        yield Finding.of("vault-file-missing", vault=layout.VAULT)
    else:
        if held != expected:
            yield Finding.of("vault-file-altered", vault=layout.VAULT)
    yield from look_for_foreign_folders(vault)
    try:
        text = read_all(vault.store, layout.FORMAT)
    except NotFound:
        yield Finding.of("description-missing", name=layout.FORMAT)
        return
    ours = resources.files("backup_pipeline.vault").joinpath("FORMAT.md").read_bytes()
    if text != ours and hashlib.sha256(text).hexdigest() not in EARLIER_DESCRIPTIONS:
        yield Finding.of("description-unknown", name=layout.FORMAT)
