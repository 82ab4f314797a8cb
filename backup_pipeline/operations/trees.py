"""File trees of a Site on their way into a backup: from settings to sources, and the choice of trees."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from backup_pipeline.backups.making import export_tree as export_tree_into
from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.databases.patience import patiently
from backup_pipeline.errors import BackupError, ConfigError
from backup_pipeline.files.sources.base import FileSource, Found
from backup_pipeline.files.sources.matching import Patterns
from backup_pipeline.files.sources.unmatched import asked_of
from backup_pipeline.files.store import TreeOrder
from backup_pipeline.model.files import DIGESTS
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.model.schema import TableId
from backup_pipeline.operations import choosing_tables

if TYPE_CHECKING:
    from pathlib import Path

    from backup_pipeline.config import Settings, StoreSettings, SystemSettings
    from backup_pipeline.operations.site import Site


#: Seconds that a look at a whole tree may take.
MOMENT = 5.0


def open_tree(settings: Settings, tree: FilesSettings) -> FileSource:
    """Raises ConfigError where what the settings refer to is not there."""
    if tree.bucket is not None:
        from backup_pipeline.files.sources.bucket import BucketSource
        from backup_pipeline.services.aws import AwsAccess

        access = AwsAccess(
            endpoint=tree.endpoint.get() if tree.endpoint else None,
            region=tree.region,
            profile=tree.profile,
            access_key_id=tree.access_key_id.get() if tree.access_key_id else None,
            secret_access_key=tree.secret_access_key.get() if tree.secret_access_key else None,
        )
        if not (access.endpoint or access.profile or access.access_key_id) and (
            defaults := settings.s3_defaults
        ):
            access = replace(defaults, region=tree.region or defaults.region)
        inside = tuple(_prefixes_of_backups(settings, tree))
        return BucketSource(tree.bucket.get(), access, tree.include, tree.exclude, apart=inside)
    if tree.dropbox is not None:
        from backup_pipeline.files.sources.dropbox import DropboxSource
        from backup_pipeline.services.dropbox import DropboxAccess

        account = DropboxAccess(
            token=tree.token.get() if tree.token else None,
            refresh_token=tree.refresh_token.get() if tree.refresh_token else None,
            app_key=tree.app_key,
            app_secret=tree.app_secret.get() if tree.app_secret else None,
            select_user=tree.select_user,
            namespace=tree.namespace,
        )
        folders = tuple(
            "/" + store.url.get().partition("://")[2].strip("/")
            for store in _stores(settings, "dropbox")
            if (store.namespace, store.select_user) == (tree.namespace, tree.select_user)
        )
        for folder in folders:
            if f"/{tree.dropbox.strip('/')}/".lower().startswith(f"{folder}/".lower()):
                raise _inside(tree.dropbox, folder, "dropbox")
        return DropboxSource(account, tree.dropbox, tree.include, tree.exclude, apart=folders)
    from backup_pipeline.files.sources.local import LocalSource

    vaults = tuple(settings.resolve(store.url.get()) for store in _stores(settings, "folder"))
    apart = (*vaults, settings.state_folder)
    if tree.path is None:
        return LocalSource(settings.base.resolve(), exclude=tree.exclude, paths=tree.paths, apart=apart)
    root = settings.resolve(tree.path.get())
    for vault in vaults:
        if root.is_relative_to(vault):
            raise _inside(root, vault, "path")
    return LocalSource(root, tree.include, tree.exclude, apart=apart)


def _stores(settings: Settings, scheme: str) -> Iterator[StoreSettings]:
    """Where backups are kept, of one kind. The secrets of AWS are not known here. The opening of an address tells
    its faults."""
    for store in (settings.vault, *settings.copies.values()):
        said = [one for one in (store.url, store.endpoint) if one is not None]
        if not any(one.problem or one.is_asked_later for one in said) and store.scheme == scheme:
            yield store


def _prefixes_of_backups(settings: Settings, tree: FilesSettings) -> Iterator[str]:
    """Those that lie below the prefix of a tree, in the same bucket of the same server."""
    assert tree.bucket is not None
    mine = tree.bucket.get().partition("://")[2].strip("/")
    endpoint = tree.endpoint.get() if tree.endpoint else None
    for store in _stores(settings, "s3"):
        theirs = store.url.get().partition("://")[2].strip("/")
        if (store.endpoint.get() if store.endpoint else None) != endpoint:
            continue
        if f"{mine}/".startswith(f"{theirs}/"):
            raise _inside(f"s3://{mine}", f"s3://{theirs}", "bucket")
        if theirs.startswith(f"{mine}/"):
            yield theirs.partition("/")[2]


def _inside(tree: Path | str, vault: Path | str, setting: str) -> ConfigError:
    return ConfigError(
        f"the file tree {tree} lies in {vault}, where backups are kept",
        remedy=f"name what belongs to the application under `{setting}:`, or keep the backups elsewhere",
    )


def tree_order(site: Site, system: str, name: str, *, full: bool = False) -> TreeOrder:
    chosen = site.system(system)
    settings, empty = chosen.files[name], _may_be_empty(chosen, name)
    return TreeOrder(
        name,
        open_tree(site.settings, settings),
        full=full,
        rehash_after=settings.rehash_after,
        media=bool(settings.types) or settings.max_size is not None,
        may_be_empty=empty,
        asked=Patterns() if empty else asked_of(settings.include, settings.paths),
        refs=settings.refs,
        digests=frozenset(name for one in settings.refs.values() for name in one.says if name in DIGESTS),
        # A bucket says by the ETag what changed, and asks money for each read.
        night=site.clock().date() if settings.path is not None else None,
    )


def _may_be_empty(chosen: SystemSettings, name: str) -> bool:
    return any(names_tree(glob, name) for glob in chosen.expected_empty)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What `--only` names: tables and groups of tables, and file trees."""

    tables: tuple[str, ...]
    trees: tuple[str, ...]


def choose(site: Site, system: str, only: Iterable[str]) -> Chosen:
    """`files.media`, `files/media` and `files.*` are trees, also where a group names them. Nothing named: all of them."""
    settings = site.system(system)
    names = choosing_tables.split(only)
    if not names:
        return Chosen((), tuple(sorted(settings.files)))
    tables: list[str] = []
    trees: dict[str, None] = {}
    for name in names:
        globs = settings.groups.get(name, (name,))
        found = [tree for tree in sorted(settings.files) if any(names_tree(glob, tree) for glob in globs)]
        trees.update(dict.fromkeys(found))
        if not found or not all(any(names_tree(glob, tree) for tree in settings.files) for glob in globs):
            tables.append(name)
    return Chosen(tuple(tables), tuple(trees))


def named_tables(site: Site, system: str, names: Iterable[str], listener: Listener) -> frozenset[TableId]:
    """Groups, tables and globs → tables. A name that means nothing is an error, not an empty backup."""
    names = tuple(names)
    if not names:
        return frozenset()
    source, selection = site.source(system), site.system(system).selection
    inventory = patiently(lambda: source.inventory(selection), system, listener)
    tables = [table.id for table in inventory.tables]
    listed_by = f"backup-pipeline inventory {system}"
    return frozenset(
        choosing_tables.chosen(names, tables, groups_and_trees(site, system), listed_by=listed_by)
    )


def groups_and_trees(site: Site, system: str) -> Mapping[str, tuple[str, ...]]:
    """What `--only` takes beside tables. A tree has no table, and stands here for the messages."""
    settings = site.system(system)
    return {**settings.groups, **{f"files.{tree}": () for tree in settings.files}}


def names_tree(glob: str, tree: str) -> bool:
    return fnmatchcase(f"files.{tree}", glob.replace("/", ".")) and glob.startswith("files")


def export_tree(
    site: Site, system: str, name: str, *, token: str, full: bool = False, listener: Listener = silent
) -> Manifest:
    """One tree into the draft of an export that was told that trees follow; see `backup.export_tree`."""
    order = tree_order(site, system, name, full=full)
    return export_tree_into(site.vault, system, order, token=token, listener=listener, clock=site.clock)


def measured(site: Site, system: str, name: str) -> int | None:
    """Bytes of a tree; None where that takes more than a moment to find out, or cannot be."""
    size, began = 0, time.monotonic()
    try:
        for found in open_tree(site.settings, site.system(system).files[name]).entries():
            size += found.size if isinstance(found, Found) else 0
            if time.monotonic() - began > MOMENT:
                return None
    except BackupError:
        return None
    return size


#: What is said of a tree that is empty, or holds nothing of what was asked for.
_EMPTY = ("tree-empty", "name-without-file", "pattern-without-file")


def diagnose_trees(site: Site, system: str) -> Report:
    """Can each tree be read as it should be?"""
    findings: list[Finding] = []
    counted: dict[str, int] = {}
    for name, settings in sorted(site.system(system).files.items()):
        try:
            report = open_tree(site.settings, settings).diagnose()
        except BackupError as error:
            findings.append(Finding.of_error(error, tree=name))
            continue
        accepted = _EMPTY if _may_be_empty(site.system(system), name) else ()
        findings += (replace(one, tree=name) for one in report.findings if one.code not in accepted)
        for what in ("files", "bytes"):
            counted[f"tree_{what}"] = counted.get(f"tree_{what}", 0) + report.counted.get(what, 0)
    return Report(system, tuple(findings), counted)
