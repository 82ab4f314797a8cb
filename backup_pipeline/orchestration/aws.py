"""One way of signing in to AWS for the graph and for the stores, whichever of the two was told.

A Dagster user who has an `S3Resource` already gives it to `build_defs(..., resources={"s3": …})`. S3 stores without
credentials and endpoint of their own then use it. The other way round, a configuration with credentials offers
resources of dagster-aws to other assets of the same code location. The first use asks for a secret and makes a client:
definitions load without a secret and without a network.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import dagster as dg

from backup_pipeline.config import Settings, StoreSettings
from backup_pipeline.errors import ConfigError
from backup_pipeline.operations import Site, signing_in
from backup_pipeline.operations.stores import VAULT

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource
    from dagster_aws.secretsmanager import SecretsManagerResource

#: The keys that dagster-aws's own documentation uses.
S3 = "s3"
SECRETS = "secretsmanager"


class _HasClient(Protocol):
    def get_client(self) -> Any: ...


def signed_in(site: Site, resources: Mapping[str, object]) -> Site:
    """The site whose stores sign in by the resources that were given."""
    if (secrets := resources.get(SECRETS)) is not None and site.settings.asks_aws:
        signing_in.ask_for_secrets_by(lambda: _fields(_checked(SECRETS, secrets), "secretsmanager"))
    if (given := resources.get(S3)) is None or not _would_use(site.settings):
        return site
    resource = _checked(S3, given)
    return signing_in.signed_in(site, lambda: _fields(resource, "s3"))


def offered(site: Site, given: Mapping[str, object]) -> dict[str, object]:
    """Resources from the settings, for the keys that were not given. dagster-aws is only loaded where there is
    something to
    offer: it takes a second."""
    found: dict[str, object] = {}
    stores = _buckets(site.settings)
    if stores and S3 not in given:
        # The vault, else the first copy: another one goes by its name.
        found[S3] = s3_resource(site, next(iter(stores)))
        found |= {f"{S3}_{name}": s3_resource(site, name) for name in stores if f"{S3}_{name}" not in given}
    if site.settings.asks_aws and SECRETS not in given:
        found[SECRETS] = secrets_resource()
    return found


def _would_use(settings: Settings) -> bool:
    """Whether there is a store or a tree that a resource could sign in; any other graph may keep what it likes under that key."""
    trees = [tree for system in settings.systems.values() for tree in system.files.values()]
    if any(tree.bucket and not (tree.endpoint or tree.profile or tree.access_key_id) for tree in trees):
        return True
    stores = (settings.vault, *settings.copies.values())
    return any(
        store.url.is_asked_later or (store.scheme == "s3" and not store.signs_in_itself)
        for store in stores
        if store.url.problem is None
    )


def _buckets(settings: Settings) -> dict[str, StoreSettings]:
    named = {VAULT: settings.vault, **settings.copies}
    # A url that cannot be known yet is not asked for here.
    return {
        name: store
        for name, store in named.items()
        if store.url.problem is None and not store.url.is_asked_later and store.scheme == "s3"
    }


def s3_resource(site: Site, name: str) -> S3Resource:
    """The `S3Resource` of a store. Its fields hold no secret: the UI shows them to everybody."""
    from dagster_aws.s3 import S3Resource

    store = site.settings.vault if name == VAULT else site.settings.copy_settings(name)

    class StoreS3Resource(S3Resource):
        @classmethod
        def _is_dagster_maintained(cls) -> bool:
            return False

        def get_client(self) -> Any:
            return signing_in.s3_client(site, store)

    return StoreS3Resource(region_name=store.region, profile_name=store.profile)


def secrets_resource() -> SecretsManagerResource:
    """The client by which `${aws-secret:…}` is asked for."""
    from dagster_aws.secretsmanager import SecretsManagerResource

    class ReferencesResource(SecretsManagerResource):
        @classmethod
        def _is_dagster_maintained(cls) -> bool:
            return False

        def get_client(self) -> Any:
            return signing_in.secrets_client()

    with warnings.catch_warnings():
        # Dagster calls it beta. That it may change is our concern, and not a line in every log of our users.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return ReferencesResource()


# ── from a resource to how it signs in


@dataclass(frozen=True, eq=False)
class ResourceClients:
    """The clients of a resource that makes them in a way of its own. It is pickled into worker processes, and has to
    be able to: a class at the top of a module, and fields that are plain values."""

    resource: _HasClient
    service: str

    def __call__(self, service: str) -> Any:
        if service != self.service:
            raise ConfigError(
                f"the Dagster resource for {self.service} was asked for a client of {service}",
                remedy="give the store credentials of its own",
            )
        return _prepared(self.resource).get_client()


def _checked(key: str, given: object) -> _HasClient:
    if callable(getattr(given, "get_client", None)):
        return given  # type: ignore[return-value]
    raise ConfigError(
        f"the resource {key!r} that was given to build_defs has no get_client",
        remedy=f"give an S3Resource (or SecretsManagerResource) of dagster-aws as {key!r}, or leave the key out",
    )


def _fields(resource: _HasClient, service: str) -> dict[str, Any]:
    """The plain values of a resource of dagster-aws: with them a worker process needs no Dagster to sign in."""
    if not _is_plain(resource):
        return {"clients": ResourceClients(resource, service)}
    told: Any = _prepared(resource)
    return {
        "endpoint": told.endpoint_url,
        "region": told.region_name,
        "profile": told.profile_name,
        "access_key_id": told.aws_access_key_id,
        "secret_access_key": told.aws_secret_access_key,
        "session_token": told.aws_session_token,
    }


def _is_plain(resource: _HasClient) -> bool:
    from dagster_aws.s3 import S3Resource
    from dagster_aws.secretsmanager import SecretsManagerResource

    if type(resource) not in (S3Resource, SecretsManagerResource):
        return False
    told: Any = resource
    unsigned = getattr(told, "use_unsigned_session", False)
    return told.verify is None and told.use_ssl is True and unsigned is False


def _prepared(resource: _HasClient) -> _HasClient:
    """With its `EnvVar` fields looked up: that happens here, and not when definitions load."""
    prepare = getattr(resource, "process_config_and_initialize", None)
    made: _HasClient = prepare() if prepare is not None else resource
    return made
