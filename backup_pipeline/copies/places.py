"""Two stores that are to hold the same vault: whether they can, and whether they are two at all."""

from __future__ import annotations

from pathlib import Path

from backup_pipeline.errors import ConfigError, NotFound
from backup_pipeline.stores.base import read_all
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault


def same_place(one: Vault, other: Vault) -> bool:
    """By address, and where that is a folder, by the folder that it leads to."""
    if one.store.address == other.store.address:
        return True
    paths = [Path(vault.store.address) for vault in (one, other)]
    return all(path.exists() for path in paths) and paths[0].samefile(paths[1])


def prepare(source: Vault, target: Vault) -> None:
    """Make a vault of the target; refuse one that is a vault of another kind."""
    try:
        wanted = read_all(source.store, layout.VAULT)
    except NotFound:
        raise NotFound(
            f"there is no vault in {source.store.address}: nothing can be copied from it",
            remedy="if it was lost, bring it back from a copy: `backup-pipeline copy SYSTEM --from NAME --to vault`",
        ) from None
    target.prepare()
    if read_all(target.store, layout.VAULT) != wanted:
        raise ConfigError(
            f"{target.store.address} holds another kind of vault than {source.store.address} "
            f"({layout.VAULT} differs: the format, or whether it is encrypted)",
            remedy="name an empty place for the copy",
        )
