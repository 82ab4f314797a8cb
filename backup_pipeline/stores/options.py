"""Everything that opening a store can need, in one plain value: what `vault:` and `copies:` say, resolved.

It is frozen and can be pickled, so that a store can be opened again in a worker process. Which options belong to
which kind of store is checked where the configuration is read, not here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backup_pipeline.services.aws import AwsAccess
from backup_pipeline.stores.rights import make_folders


@dataclass(frozen=True, slots=True)
class StoreOptions:
    #: /srv/vault · s3://bucket/prefix · sftp://user@host:22/path · dropbox:///FOLDER
    url: str
    #: A local folder in which files are made before they are sent. A folder store has one of its own.
    staging: Path
    #: Bytes a second, sending and fetching together; None: as fast as it goes.
    max_rate: int | None = None
    #: How often one request is tried before the store counts as unavailable.
    max_attempts: int = 6
    #: For how many seconds work goes on trying, at the least.
    patience: float = 120.0
    #: Of a folder, a server's as well: what is made there may be read by this group; None: by its owner alone.
    group: str | None = None
    #: Patterns (fnmatch) of keys that come and go: they are never locked against deletion.
    mutable: tuple[str, ...] = ()
    #: Patterns of the keys that are large and rarely read: only they go into `storage_class`.
    archivable: tuple[str, ...] = ()

    # ── S3
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    storage_class: str | None = None
    #: AES256 | aws:kms
    server_side_encryption: str | None = None
    kms_key_id: str | None = None
    object_lock_days: int | None = None
    #: GOVERNANCE: an account with s3:BypassGovernanceRetention may delete earlier · COMPLIANCE: no account may.
    object_lock_mode: str = "GOVERNANCE"
    #: Service → client, from a caller that has clients already (a Dagster resource). It takes the place of the
    #: keys above. It has
    #: to be picklable where worker processes open the store again.
    clients: Callable[[str], Any] | None = field(default=None, repr=False, compare=False)

    # ── SFTP
    password: str | None = field(default=None, repr=False)
    key_file: Path | None = None
    known_hosts: Path | None = None

    # ── Dropbox
    token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    app_key: str | None = None
    app_secret: str | None = field(default=None, repr=False)
    #: The team member (dbmid:…) to act as, and the namespace in which paths begin.
    select_user: str | None = None
    namespace: str | None = None

    def made_staging(self) -> Path:
        make_folders(self.staging, self.staging.parent, self.group)
        return self.staging

    @property
    def scheme(self) -> str:
        """folder | s3 | sftp | dropbox | another word before ://"""
        before, separator, _ = self.url.partition("://")
        return before.lower() if separator else "folder"

    @property
    def aws_access(self) -> AwsAccess:
        """How an S3 store signs in."""
        return AwsAccess(
            endpoint=self.endpoint,
            region=self.region,
            profile=self.profile,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            session_token=self.session_token,
            clients=self.clients,
        )
