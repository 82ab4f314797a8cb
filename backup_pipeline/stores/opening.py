"""From options to the store that they mean. The only place that knows which kinds of stores there are."""

from __future__ import annotations

from pathlib import Path

from backup_pipeline.errors import ConfigError
from backup_pipeline.stores.base import Store
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.stores.options import StoreOptions
from backup_pipeline.stores.retrying import Patience, RetryingStore

SCHEMES = ("folder", "s3", "sftp", "dropbox")


def open_store(options: StoreOptions) -> Store:
    """Nothing is connected to until the first request. Imports are here because each library costs a command that
    does not need it half a second."""
    if options.scheme == "folder":
        return LocalStore(Path(options.url), group=options.group)
    patience = Patience(attempts=options.max_attempts, least=options.patience)
    if options.scheme == "s3":
        from backup_pipeline.stores.s3.store import S3Store

        return RetryingStore(S3Store(options), patience)
    if options.scheme == "sftp":
        from backup_pipeline.stores.sftp.store import SftpStore

        return RetryingStore(SftpStore(options), patience)
    if options.scheme == "dropbox":
        from backup_pipeline.stores.dropbox.store import DropboxStore

        return RetryingStore(DropboxStore(options), patience)
    raise ConfigError(
        f"{options.scheme}:// is not a kind of store",
        remedy="use the path of a folder, s3://bucket/prefix, sftp://user@host/path or dropbox:///FOLDER",
    )
