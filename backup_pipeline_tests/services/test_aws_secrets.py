"""`${aws-secret:NAME#KEY}`: asked for when it is used, kept for a while, never shown, and explained when it fails."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.config import Settings, parse, redact
from backup_pipeline.errors import ConfigError
from backup_pipeline.services import aws_secrets
from backup_pipeline.services.aws import AwsAccess, client
from backup_pipeline.services.aws_secrets import NoSecret, SecretName, Secrets
from backup_pipeline_tests.harness import commands
from backup_pipeline_tests.harness.stores import S3Server

_numbers = count(1)
Make = Callable[[object], str]


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moto_server: S3Server) -> Iterator[None]:
    """Signed in by the environment, as a host in AWS is by its role."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": moto_server.endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "K",
        "AWS_SECRET_ACCESS_KEY": "S",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    # A client that an earlier test made has that test's environment in it.
    monkeypatch.setattr("backup_pipeline.services.aws._made", {})
    # What is learnt here is hidden for the rest of the process: not in other tests.
    monkeypatch.setattr("backup_pipeline.config.redaction._learnt", set())
    aws_secrets.shared.forget()
    yield
    aws_secrets.shared.forget()


@pytest.fixture
def make(moto_server: S3Server) -> Make:
    def made(value: object) -> str:
        name = f"prod/secret-{os.getpid()}-{next(_numbers)}"
        server(moto_server).create_secret(
            Name=name, SecretString=value if isinstance(value, str) else json.dumps(value)
        )
        return name

    return made


def server(moto_server: S3Server) -> Any:
    access = AwsAccess(
        endpoint=moto_server.endpoint, region="us-east-1", access_key_id="K", secret_access_key="S"
    )
    return client(access, "secretsmanager")


def url(database: str, tmp_path: Path) -> str:
    return load(database, tmp_path).systems["shop"].url


def load(database: str, tmp_path: Path, rest: str = "") -> Settings:
    text = f"vault: ./vault\nsystems:\n  shop:\n    database: {json.dumps(database)}\n{rest}"
    return parse(text, name="backup.yaml", base=tmp_path, environ={})


def test_one_key_and_a_whole_secret_are_put_in(make: Make, tmp_path: Path) -> None:
    keyed, plain = make({"user": "app", "port": 5432}), make("the whole")
    found = load(f"${{aws-secret:{keyed}#user}}:${{aws-secret:{keyed}#port}}", tmp_path)
    assert found.systems["shop"].url == "app:5432"
    assert load(f"${{aws-secret:{plain}}}", tmp_path).systems["shop"].url == "the whole"


def test_a_password_that_aws_made_up_is_safe_inside_a_url(make: Make, tmp_path: Path) -> None:
    from urllib.parse import unquote, urlsplit

    password = "a/b@c:d?e#f%g&h i"
    name = make({"password": password})
    url = load(f"postgresql://app:${{aws-secret:{name}#password}}@db1/shop", tmp_path).systems["shop"].url
    assert unquote(urlsplit(url).password or "") == password
    assert urlsplit(url).hostname == "db1"
    assert load(f"${{aws-secret:{name}#password}}", tmp_path).systems["shop"].url == password


def test_an_arn_names_the_region(
    make: Make, tmp_path: Path, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = server(moto_server).describe_secret(SecretId=make({"x": "here"}))["ARN"]
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert SecretName.parse(f"{arn}#x") == SecretName(arn, "x")
    assert SecretName.parse(arn).region == "us-east-1"
    assert load(f"${{aws-secret:{arn}#x}}", tmp_path).systems["shop"].url == "here"


def test_nothing_is_asked_when_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
    settings = load("${aws-secret:nothing}", tmp_path)
    assert settings.asks_aws
    assert "***" in repr(settings.systems["shop"].database)
    assert settings.secrets == ()
    assert not load("sqlite:///x.db", tmp_path).asks_aws


def test_a_secret_is_asked_for_once_in_five_minutes_and_a_new_one_is_noticed(
    make: Make, moto_server: S3Server
) -> None:
    name, now, asked = make("old"), [0.0], []

    def access() -> AwsAccess:
        asked.append(1)
        return AwsAccess()

    secrets = Secrets(access, clock=lambda: now[0])
    assert secrets.value(SecretName(name)) == "old"
    server(moto_server).put_secret_value(SecretId=name, SecretString="new")
    now[0] = aws_secrets.KEPT_SECONDS - 1
    assert secrets.value(SecretName(name)) == "old"
    now[0] = aws_secrets.KEPT_SECONDS + 1
    assert secrets.value(SecretName(name)) == "new"


@pytest.mark.parametrize(
    ("value", "key", "said", "remedy"),
    [
        ({"user": "x"}, "password", "has no key 'password'", "it has: user"),
        ("plain", "password", "is a plain text", "aws-secret:"),
        ({"password": None}, "password", "holds no text", "store"),
        ({"password": {"a": 1}}, "password", "holds no text", "store"),
    ],
)
def test_a_key_that_is_not_there_is_said(make: Make, value: object, key: str, said: str, remedy: str) -> None:
    with pytest.raises(NoSecret, match=said) as caught:
        Secrets().value(SecretName(make(value), key))
    assert remedy in caught.value.remedy


def test_a_secret_that_is_not_there_is_an_error_with_the_line_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"line 4: systems\.shop\.database: there is no secret 'gone'"
    ) as caught:
        url("${aws-secret:gone#x}", tmp_path)
    assert "list-secrets" in caught.value.remedy


def test_no_region_and_no_credentials_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load("${aws-secret:x}", tmp_path)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(ConfigError, match=r"(?i)region") as caught:
        settings.systems["shop"].database.get()
    assert "AWS_DEFAULT_REGION" in caught.value.remedy
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigError, match="credentials") as caught:
        settings.systems["shop"].database.get()
    assert "AWS_PROFILE" in caught.value.remedy


def test_a_server_that_does_not_answer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="does not answer"):
        url("${aws-secret:x}", tmp_path)


def test_a_right_that_is_missing_is_named(
    strict_moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", strict_moto_server.endpoint)
    with pytest.raises(NoSecret) as caught:
        Secrets().value(SecretName("x"))
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["${aws-secret:}", "${aws-secret:#key}"])
def test_a_reference_that_names_nothing_is_said(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no secret"):
        url(text, tmp_path)


def test_what_shapes_the_work_cannot_come_from_aws(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 5: systems\.shop\.schedule"):
        load("sqlite:///x", tmp_path, "    schedule: ${aws-secret:x}\n")


def test_the_vault_and_the_keys_of_a_store_can_come_from_aws(make: Make, tmp_path: Path) -> None:
    name = make({"key": "AKIASOMETHING", "secret": "very-secret-indeed"})
    text = (
        f"vault: {{url: s3://acme, access_key_id: '${{aws-secret:{name}#key}}', "
        f"secret_access_key: '${{aws-secret:{name}#secret}}'}}\n"
        f"copies: {{away: '${{aws-secret:{make('/srv/off')}}}'}}\nsystems: {{shop: {{database: sqlite:///x.db}}}}\n"
    )
    settings = parse(text, name="backup.yaml", base=tmp_path, environ={})
    assert settings.vault.options(tmp_path, tmp_path).secret_access_key == "very-secret-indeed"
    assert settings.copies["away"].options(tmp_path, tmp_path).url == "/srv/off"


def test_what_was_asked_for_is_hidden_from_then_on_in_every_spelling(make: Make, tmp_path: Path) -> None:
    password = "p/ssw@rd-of-this-test"
    name = make({"password": password})
    url(f"postgresql://app:${{aws-secret:{name}#password}}@db1/shop", tmp_path)
    assert redact(f"app said {password}!") == "app said ***!"
    assert redact("it said p%2Fssw%40rd-of-this-test!") == "it said ***!"


def test_a_command_uses_a_secret_and_never_shows_it(make: Make, tmp_path: Path) -> None:
    name = make({"password": "hush-hush-hush"})
    (tmp_path / "backup.yaml").write_text(
        "vault: ./vault\nsystems:\n  shop:\n"
        f"    database: postgresql://app:${{aws-secret:{name}#password}}@127.0.0.1:1/shop\n"
    )
    variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    ended = commands.invoke("doctor", "shop", "--verbose", cwd=tmp_path, env=variables)
    assert "127.0.0.1" in ended.stdout
    assert "hush" not in ended.stdout + ended.stderr
