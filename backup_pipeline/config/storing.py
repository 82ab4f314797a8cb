"""`vault:` and the entries of `copies:`: an address alone, or an address with what opening it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from backup_pipeline.config.references import Deferred, Secret
from backup_pipeline.config.strict import Strict
from backup_pipeline.config.values import Duration, Size
from backup_pipeline.services.aws import AwsAccess
from backup_pipeline.stores.options import StoreOptions

_NETWORK = frozenset({"max_rate", "max_attempts", "patience"})
#: Which settings mean something for which kind of store.
_ONLY = {
    "s3": _NETWORK.union(
        {
            "endpoint",
            "region",
            "profile",
            "access_key_id",
            "secret_access_key",
            "session_token",
            "storage_class",
            "server_side_encryption",
            "kms_key_id",
            "object_lock_days",
            "object_lock_mode",
            "lifecycle",
            "pruner",
        }
    ),
    "sftp": _NETWORK | {"password", "key_file", "known_hosts"},
    "dropbox": _NETWORK | {"token", "refresh_token", "app_key", "app_secret", "select_user", "namespace"},
}
_EVERYWHERE = frozenset({"url", "within", "prune"})


class LifecycleSettings(Strict):
    """What the bucket itself does with objects as they age; set up by `bucket setup`."""

    #: Class → days after which an object moves to it.
    glacier_ir_after_days: Annotated[int, Field(ge=1)] | None = None
    glacier_after_days: Annotated[int, Field(ge=1)] | None = None
    deep_archive_after_days: Annotated[int, Field(ge=1)] | None = None
    abort_uploads_after_days: Annotated[int, Field(ge=1)] = 7
    #: In a bucket with versions: how long what was deleted or overwritten can still be brought back.
    old_versions_days: Annotated[int, Field(ge=1)] = 30

    @property
    def transitions(self) -> tuple[tuple[str, int], ...]:
        """(class, days), from the warmest to the coldest."""
        found = (
            ("GLACIER_IR", self.glacier_ir_after_days),
            ("GLACIER", self.glacier_after_days),
            ("DEEP_ARCHIVE", self.deep_archive_after_days),
        )
        return tuple((name, days) for name, days in found if days is not None)

    @model_validator(mode="after")
    def _gets_colder(self) -> LifecycleSettings:
        days = [days for _, days in self.transitions]
        if days != sorted(set(days)):
            raise ValueError(
                "objects only ever move to a colder class: glacier_ir_after_days, glacier_after_days and "
                "deep_archive_after_days must grow in this order"
            )
        return self


class PrunerSettings(Strict):
    """Credentials that only `prune` uses: the writer's may then be unable to delete a backup."""

    profile: str | None = None
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None

    @model_validator(mode="after")
    def _either(self) -> PrunerSettings:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together: set both")
        if self.profile is None and self.access_key_id is None:
            raise ValueError("name a profile, or access_key_id and secret_access_key")
        return self

    @property
    def secrets(self) -> tuple[str, ...]:
        found = (self.access_key_id, self.secret_access_key, self.session_token)
        return tuple(part for secret in found if secret is not None for part in secret.parts)


class StoreSettings(Strict):
    #: /srv/vault · s3://bucket/prefix · sftp://user@host/path · dropbox:///FOLDER
    url: Deferred
    max_rate: Size | None = None
    max_attempts: Annotated[int, Field(ge=1, le=50)] = 6
    #: For how long a backup, a copy, a drill goes on trying.
    patience: Duration = 120
    #: Of a copy: a backup older than this that is not there is late.
    within: Duration = 86400
    #: Of a copy: the schedule of `retention` prunes it too.
    prune: bool = False
    # S3
    endpoint: Deferred | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    storage_class: (
        Literal[
            "STANDARD",
            "STANDARD_IA",
            "ONEZONE_IA",
            "INTELLIGENT_TIERING",
            "GLACIER_IR",
            "GLACIER",
            "DEEP_ARCHIVE",
        ]
        | None
    ) = None
    server_side_encryption: Literal["AES256", "aws:kms"] | None = None
    kms_key_id: str | None = None
    object_lock_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    object_lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] = "GOVERNANCE"
    lifecycle: LifecycleSettings = LifecycleSettings()
    #: The credentials that may delete: `prune` alone has them.
    pruner: PrunerSettings | None = None
    # SFTP
    password: Secret | None = None
    key_file: Path | None = None
    known_hosts: Path | None = None
    # Dropbox
    token: Secret | None = None
    refresh_token: Secret | None = None
    app_key: str | None = None
    app_secret: Secret | None = None
    select_user: str | None = None
    namespace: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _an_address_alone(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping | StoreSettings) else {"url": value}

    @model_validator(mode="after")
    def _fits_the_address(self) -> StoreSettings:
        if self.url.problem is not None or self.url.is_asked_later:
            return self
        kind = self.scheme
        if kind not in ("folder", *_ONLY):
            raise ValueError(
                f"{kind}:// is not a kind of store; "
                "use a folder, s3://bucket/prefix, sftp://user@host/path or dropbox:///FOLDER"
            )
        if kind == "s3" and "@" in self.url.get().partition("://")[2].partition("/")[0]:
            raise ValueError(
                "keys do not belong into the address of a bucket: set access_key_id and secret_access_key, "
                "or leave them to the environment"
            )
        strange = sorted(self.model_fields_set - _EVERYWHERE - _ONLY.get(kind, frozenset()))
        if strange:
            raise ValueError(f"{', '.join(strange)} means nothing for a store of the kind {kind}")
        return self

    @property
    def scheme(self) -> str:
        before, separator, _ = self.url.get().partition("://")
        return before.lower() if separator else "folder"

    def ground(self, base: Path) -> tuple[str, ...]:
        """The address in steps, from the outside in; empty where it cannot be known before it is used."""
        told = [one for one in (self.url, self.endpoint) if one is not None]
        if any(one.problem is not None or one.is_asked_later for one in told):
            return ()
        if self.scheme == "folder":
            return ("folder", *(base / Path(self.url.get()).expanduser()).resolve().parts)
        host, _, path = self.url.get().partition("://")[2].partition("/")
        parts = [part for part in path.split("/") if part]
        if self.scheme == "dropbox":  # it does not tell upper from lower case
            host, parts = f"{self.select_user} {self.namespace}", [part.lower() for part in parts]
        return (self.scheme, _text(self.endpoint) or "", host, *parts)

    @property
    def signs_in_itself(self) -> bool:
        """Whether it says who asks, or whom: then no other way of signing in is mixed in."""
        return any(one is not None for one in (self.endpoint, self.profile, self.access_key_id))

    def with_defaults(self, options: StoreOptions, defaults: AwsAccess) -> StoreOptions:
        """The options of this store, signed in as a Dagster resource says; a region of its own is kept."""
        return replace(
            options,
            endpoint=defaults.endpoint,
            region=self.region or defaults.region,
            profile=defaults.profile,
            access_key_id=defaults.access_key_id,
            secret_access_key=defaults.secret_access_key,
            session_token=defaults.session_token,
            clients=defaults.clients,
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        found = (
            self.access_key_id,
            self.secret_access_key,
            self.session_token,
            self.password,
            self.token,
            self.refresh_token,
            self.app_secret,
        )
        own = tuple(part for secret in found if secret is not None for part in secret.parts)
        return (*own, *(self.pruner.secrets if self.pruner else ()))

    def options(self, base: Path, staging: Path, mutable: tuple[str, ...] = ()) -> StoreOptions:
        """Everything that it refers to, resolved: raises ConfigError where something is not there."""
        url = self.url.get()
        return StoreOptions(
            url=str((base / Path(url).expanduser()).resolve()) if self.scheme == "folder" else url,
            staging=staging,
            max_rate=self.max_rate,
            max_attempts=self.max_attempts,
            patience=self.patience,
            mutable=mutable,
            endpoint=_text(self.endpoint),
            region=self.region,
            profile=self.profile,
            access_key_id=_text(self.access_key_id),
            secret_access_key=_text(self.secret_access_key),
            session_token=_text(self.session_token),
            storage_class=self.storage_class,
            server_side_encryption=self.server_side_encryption,
            kms_key_id=self.kms_key_id,
            object_lock_days=self.object_lock_days,
            object_lock_mode=self.object_lock_mode,
            password=_text(self.password),
            key_file=_path(base, self.key_file),
            known_hosts=_path(base, self.known_hosts),
            token=_text(self.token),
            refresh_token=_text(self.refresh_token),
            app_key=self.app_key,
            app_secret=_text(self.app_secret),
            select_user=self.select_user,
            namespace=self.namespace,
        )

    def for_pruning(self, options: StoreOptions) -> StoreOptions:
        """The same store with the credentials of `pruner:`, where there are some."""
        if self.pruner is None:
            return options
        return replace(
            options,
            profile=self.pruner.profile,
            access_key_id=_text(self.pruner.access_key_id),
            secret_access_key=_text(self.pruner.secret_access_key),
            session_token=_text(self.pruner.session_token),
            clients=None,
        )


def same_ground(one: StoreSettings, other: StoreSettings, base: Path) -> bool:
    """Whether one of the two lies in the other, as far as their addresses say it."""
    here, there = one.ground(base), other.ground(base)
    common = min(len(here), len(there))
    return common > 0 and here[:common] == there[:common]


def _text(value: Deferred | None) -> str | None:
    return None if value is None else value.get()


def _path(base: Path, value: Path | None) -> Path | None:
    return None if value is None else (base / value.expanduser()).resolve()
