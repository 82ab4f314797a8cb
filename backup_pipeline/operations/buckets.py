"""The bucket that the vault, or a copy, lies in: what it should be like follows from the settings of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from backup_pipeline.config import StoreSettings
from backup_pipeline.errors import ConfigError, NotReady
from backup_pipeline.model.orders import BucketOrder
from backup_pipeline.model.plural import plural
from backup_pipeline.operations import stores
from backup_pipeline.vault import layout

if TYPE_CHECKING:
    from backup_pipeline.operations.site import Site
    from backup_pipeline.stores.s3.bucket.steps import Step
    from backup_pipeline.stores.s3.bucket.wanted import Wanted


_ATTEMPTS = 3
#: Part → the setting that asks for it. Without the setting it is done where the server offers it.
_ASKED = {
    "object lock": "object_lock_days",
    "encryption": "server_side_encryption",
    "lifecycle": "lifecycle",
}


@dataclass(frozen=True, slots=True)
class BucketPlan:
    name: str
    bucket: str
    prefix: str
    region: str | None
    endpoint: str | None
    steps: tuple[Step, ...]
    #: Role → the least IAM policy for it.
    policies: Mapping[str, Mapping[str, Any]]

    @property
    def stuck(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.state == "stuck")

    @property
    def failure(self) -> NotReady | None:
        if not self.stuck:
            return None
        things = plural(len(self.stuck), "thing")
        return NotReady(
            f"{things} about the bucket {self.bucket} cannot be made right from here",
            remedy="each of them says what to do",
        )


def bucket(site: Site, order: BucketOrder) -> BucketPlan:
    """Create the bucket or make it as it should be. Run again, it changes nothing."""
    name = order.name
    if order.policies:  # asks no server
        return _plan(name, _wanted(site, name), ())
    from backup_pipeline.stores.s3.bucket.applying import apply
    from backup_pipeline.stores.s3.bucket.inspecting import look
    from backup_pipeline.stores.s3.bucket.steps import plan

    client, wanted = _opened(site, name, order.profile)
    steps = plan(look(client, wanted), wanted) if order.dry_run else apply(client, wanted)
    return _plan(name, wanted, steps)


def _plan(name: str, wanted: Wanted, steps: tuple[Step, ...]) -> BucketPlan:
    from backup_pipeline.stores.s3.bucket.policies import all_policies

    policies = all_policies(
        wanted, mutable=layout.MUTABLE, once=layout.CREATED_ONCE, records=layout.PRUNE_RECORDS
    )
    return BucketPlan(name, wanted.bucket, wanted.prefix, wanted.region, wanted.endpoint, steps, policies)


def _store(site: Site, name: str) -> StoreSettings:
    found = site.settings.vault if name == stores.VAULT else site.settings.copy_settings(name)
    if found.scheme != "s3":
        raise ConfigError(
            f"{name} is no bucket: it is {found.url.get()}",
            remedy="name the vault or a copy whose url begins with s3://",
        )
    return found


def _wanted(site: Site, name: str) -> Wanted:
    from backup_pipeline.stores.s3.bucket.wanted import Lifecycle, Wanted

    settings = _store(site, name)
    options = stores.options_of(site.settings, settings)
    address = urlsplit(options.url)
    if not address.netloc:
        raise ConfigError(f"{options.url} names no bucket", remedy="write s3://BUCKET/PREFIX")
    prefix = address.path.strip("/")
    life = settings.lifecycle
    return Wanted(
        bucket=address.netloc,
        prefix=f"{prefix}/" if prefix else "",
        region=options.region,
        freezable=layout.OBJECTS,
        lifecycle=Lifecycle(life.transitions, life.abort_uploads_after_days, life.old_versions_days),
        encryption=options.server_side_encryption or "AES256",
        kms_key_id=options.kms_key_id,
        object_lock_days=options.object_lock_days,
        tls_only=not (options.endpoint or "").startswith("http://"),
        endpoint=options.endpoint,
        asked=frozenset(part for part, setting in _ASKED.items() if setting in settings.model_fields_set),
    )


def _opened(site: Site, name: str, profile: str | None) -> tuple[Any, Wanted]:
    """`profile`: setting up takes more rights than the store's own credentials should have."""
    from backup_pipeline.services import aws

    wanted = _wanted(site, name)
    options = stores.options_of(site.settings, _store(site, name))
    access = replace(options.aws_access, attempts=_ATTEMPTS)
    if profile is not None:
        access = aws.AwsAccess(
            endpoint=options.endpoint, region=options.region, profile=profile, attempts=_ATTEMPTS
        )
    client = aws.client(access)
    # An endpoint may also come from the environment or from a Dagster resource.
    address = str(client.meta.endpoint_url)
    elsewhere = None if aws.is_aws(client) else address
    return client, replace(
        wanted,
        region=wanted.region or client.meta.region_name,
        endpoint=elsewhere,
        tls_only=not address.startswith("http://"),
    )
