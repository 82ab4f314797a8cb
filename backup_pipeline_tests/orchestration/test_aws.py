"""One way of signing in to AWS: a resource given by a Dagster user serves the stores, and the settings offer one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_aws.s3 import S3Resource
from dagster_aws.secretsmanager import SecretsManagerResource

from backup_pipeline.errors import ConfigError
from backup_pipeline.files.sources.bucket import BucketSource
from backup_pipeline.operations import Site
from backup_pipeline.operations.trees import open_tree
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.orchestration.naming import PLAIN
from backup_pipeline.orchestration.resources import Backups
from backup_pipeline.services import aws_secrets
from backup_pipeline_tests.harness.stores import S3Server
from backup_pipeline_tests.orchestration.conftest import Shop


@pytest.fixture(autouse=True)
def of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No credentials of the user who runs the tests, and no secret that an earlier test has asked for."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    access = aws_secrets.shared.access
    aws_secrets.shared.forget()
    yield
    aws_secrets.shared.access = access
    aws_secrets.shared.forget()


def in_a_bucket(shop: Shop, vault: str) -> Site:
    shop.configure()
    shop.config.write_text(shop.config.read_text().replace("vault: ./vault\n", f"vault: {vault}\n"))
    site = Site.load(shop.config)
    site.inventory("shop")
    return site


def run(definitions: dg.Definitions, instance: dg.DagsterInstance) -> bool:
    return (
        definitions.resolve_job_def("backup_shop")
        .execute_in_process(instance=instance, raise_on_error=False)
        .success
    )


def test_the_stores_use_the_resource_that_a_dagster_user_gives(
    shop: Shop, instance: dg.DagsterInstance, rclone_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rclone checks every signature: without these keys nothing gets through. The secret comes from an EnvVar."""
    bucket = rclone_server.make_bucket()
    site = in_a_bucket(shop, f"s3://{bucket}/x")
    given = S3Resource(
        endpoint_url=rclone_server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=rclone_server.access_key_id,
        aws_secret_access_key=dg.EnvVar("THE_SECRET"),
    )
    definitions = build_defs(site, resources={"s3": given})
    monkeypatch.setenv("THE_SECRET", rclone_server.secret_access_key)
    assert run(definitions, instance)
    used: Any = definitions.resources
    assert isinstance(used[PLAIN.resource], Backups)
    assert used[PLAIN.resource].site.vault.ids("shop")
    assert used["s3"] is given


class OwnClients(S3Resource):
    """A caller that assumes a role makes clients in its own way."""

    def get_client(self) -> Any:
        return S3Resource(
            endpoint_url=os.environ["THE_ENDPOINT"],
            region_name="us-east-1",
            aws_access_key_id=os.environ["THE_KEY"],
            aws_secret_access_key=os.environ["THE_SECRET"],
        ).get_client()


def test_a_resource_with_clients_of_its_own_is_asked_for_them(
    shop: Shop, instance: dg.DagsterInstance, rclone_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = rclone_server.make_bucket()
    monkeypatch.setenv("THE_ENDPOINT", rclone_server.endpoint)
    monkeypatch.setenv("THE_KEY", rclone_server.access_key_id)
    monkeypatch.setenv("THE_SECRET", rclone_server.secret_access_key)
    site = in_a_bucket(shop, f"s3://{bucket}/x")
    assert run(build_defs(site, resources={"s3": OwnClients()}), instance)


def test_a_store_that_says_who_it_is_stays_that(shop: Shop, rclone_server: S3Server) -> None:
    bucket = rclone_server.make_bucket()
    store = json.dumps(
        {
            "url": f"s3://{bucket}",
            "endpoint": rclone_server.endpoint,
            "access_key_id": rclone_server.access_key_id,
            "secret_access_key": rclone_server.secret_access_key,
        }
    )
    site = in_a_bucket(shop, store)
    wrong = S3Resource(endpoint_url="http://127.0.0.1:1", aws_access_key_id="x", aws_secret_access_key="y")
    definitions = build_defs(site, resources={"s3": wrong})
    resources: Any = definitions.resources
    assert list(resources[PLAIN.resource].site.vault.systems()) == []


def test_settings_with_a_bucket_offer_their_client_to_other_assets(
    shop: Shop, instance: dg.DagsterInstance, rclone_server: S3Server
) -> None:
    bucket = rclone_server.make_bucket()
    store = {
        "url": f"s3://{bucket}/x",
        "endpoint": rclone_server.endpoint,
        "access_key_id": rclone_server.access_key_id,
        "secret_access_key": "${env:THE_SECRET}",
    }
    shop.configure()
    shop.config.write_text(shop.config.read_text().replace("./vault", json.dumps(store)))
    site = Site.load(shop.config, environ={"THE_SECRET": rclone_server.secret_access_key})
    seen: list[list[str]] = []

    @dg.asset
    def mine(s3: S3Resource) -> None:
        seen.append([one["Name"] for one in s3.get_client().list_buckets()["Buckets"]])

    definitions = build_defs(site)
    resources: Any = definitions.resources
    assert isinstance(resources["s3"], S3Resource)
    assert rclone_server.secret_access_key not in repr(resources["s3"])
    assert dg.materialize([mine], resources={"s3": resources["s3"]}, instance=instance).success
    assert bucket in seen[0]


def test_without_a_bucket_nothing_of_aws_is_loaded(shop: Shop) -> None:
    code = (
        "import sys, backup_pipeline as bp\n"
        "from backup_pipeline.orchestration.graph import build_defs\n"
        "found = build_defs(bp.load(sys.argv[1])).resources\n"
        "assert set(found) == {'backups'}, found\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('boto3', 'botocore', 'dagster_aws')]\n"
    )
    shop.configure()
    subprocess.run([sys.executable, "-c", code, str(shop.config)], check=True, timeout=60)


def test_definitions_load_while_no_secret_and_no_network_is_there(shop: Shop) -> None:
    store = {
        "url": "s3://acme",
        "access_key_id": "${aws-secret:a#id}",
        "secret_access_key": "${aws-secret:a#key}",
    }
    shop.configure()
    shop.config.write_text(shop.config.read_text().replace("./vault", json.dumps(store)))
    definitions = build_defs(Site.load(shop.config))
    resources: Any = definitions.resources
    assert isinstance(resources["secretsmanager"], SecretsManagerResource)
    with pytest.raises(ConfigError, match="'a'"):
        resources["s3"].get_client()


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_a_secret_is_asked_for_with_the_resource_that_a_dagster_user_gives(
    shop: Shop, instance: dg.DagsterInstance, moto_server: S3Server
) -> None:
    given = SecretsManagerResource(
        endpoint_url=moto_server.endpoint,
        region_name="us-east-1",
        aws_access_key_id="K",
        aws_secret_access_key="S",
    )
    name = f"db-{os.getpid()}"
    given.get_client().create_secret(Name=name, SecretString=str(shop.database).lstrip("/"))
    shop.config.write_text(
        f"vault: ./vault\nsystems:\n  shop: {{database: 'sqlite:////${{aws-secret:{name}}}'}}\n"
    )
    definitions = build_defs(Site.load(shop.config), resources={"secretsmanager": given})
    Site.load(shop.config).inventory("shop")
    assert run(definitions, instance)


def test_what_cannot_give_a_client_is_refused_where_a_store_needs_it(shop: Shop) -> None:
    assert build_defs(shop.site, resources={"s3": object()}) is not None, "no store of ours uses it"
    shop.config.write_text(shop.config.read_text().replace("./vault", "s3://acme"))
    with pytest.raises(ConfigError, match="get_client"):
        build_defs(Site.load(shop.config), resources={"s3": object()})


def test_a_bucket_among_the_file_trees_is_read_with_the_same_resource(
    shop: Shop, rclone_server: S3Server
) -> None:
    site = shop.configure("files: {media: {bucket: 's3://uploads/media', region: eu-west-1}}")
    given = S3Resource(
        endpoint_url=rclone_server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=rclone_server.access_key_id,
        aws_secret_access_key=rclone_server.secret_access_key,
    )
    resources: Any = build_defs(site, resources={"s3": given}).resources
    settings = resources[PLAIN.resource].site.settings
    source = open_tree(settings, settings.systems["shop"].files["media"])
    assert isinstance(source, BucketSource)
    assert source.access.endpoint == rclone_server.endpoint
    assert source.access.region == "eu-west-1"
