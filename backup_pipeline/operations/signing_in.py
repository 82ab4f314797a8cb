"""Signing in to AWS for a caller that has clients or credentials of its own, and clients for a caller that has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from backup_pipeline.config import StoreSettings
from backup_pipeline.operations.site import Site
from backup_pipeline.operations.stores import options_of
from backup_pipeline.services import aws_secrets
from backup_pipeline.services.aws import AwsAccess, client

#: Makes the fields of an `AwsAccess`; called once, at the first use.
Fields = Callable[[], Mapping[str, Any]]


def signed_in(site: Site, fields: Fields) -> Site:
    """The same site; its S3 stores without credentials of their own sign in by `fields`."""
    settings = site.settings.with_s3_defaults(_access(fields))
    return type(site)(settings, clock=site.clock, place=site.place)


def ask_for_secrets_by(fields: Fields) -> None:
    """`${aws-secret:…}` is looked up by `fields` in this process from now on."""
    aws_secrets.shared.access = _access(fields)


def s3_client(site: Site, store: StoreSettings) -> Any:
    return client(options_of(site.settings, store).aws_access)


def secrets_client() -> Any:
    return client(aws_secrets.shared.access(), "secretsmanager")


def _access(fields: Fields) -> Callable[[], AwsAccess]:
    return cache(lambda: AwsAccess(**fields()))
