"""What `vault:`, `copies:`, `files:`, `encryption:` and `retention:` become; the rules of all settings are in test_config."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.errors import ConfigError
from backup_pipeline.files.sources.bucket import BucketSource
from backup_pipeline.files.sources.dropbox import DropboxSource
from backup_pipeline.operations.trees import open_tree
from backup_pipeline.vault import crypto
from backup_pipeline_tests.config.test_config import parse, system


def test_a_store_is_an_address_or_an_address_with_what_opening_it_needs(tmp_path: Path) -> None:
    text = """\
vault: ./v
copies:
  disk: /mnt/usb/backups
  off_site:
    url: s3://bucket/prefix
    endpoint: ${env:ENDPOINT}
    access_key_id: ${env:KEY}
    secret_access_key: ${env:SECRET}
    storage_class: GLACIER_IR
    max_rate: 20MB
    within: 2d
systems:
  shop: {database: sqlite:///x}
"""
    settings = parse(text, tmp_path, ENDPOINT="https://s3.example", KEY="AKIAEXAMPLE", SECRET="very secret")
    assert settings.vault.options(tmp_path, tmp_path / "s").url == str(tmp_path / "v")
    off_site = settings.copies["off_site"]
    options = off_site.options(tmp_path, tmp_path / "s", ("*/lock.json",))
    assert (options.scheme, options.endpoint, options.max_rate) == ("s3", "https://s3.example", 20 * 2**20)
    assert (options.secret_access_key, options.mutable) == ("very secret", ("*/lock.json",))
    assert "very secret" not in repr(options)
    assert "very secret" not in repr(settings)
    assert {"AKIAEXAMPLE", "very secret"} <= set(settings.secrets)
    assert settings.copies_of("shop") == ("disk", "off_site")
    assert off_site.within == 2 * 86400


def test_a_missing_secret_of_a_copy_fails_when_the_copy_is_opened() -> None:
    settings = parse("copies: {away: {url: s3://b, secret_access_key: '${env:S}'}}\n" + system(""))
    with pytest.raises(ConfigError, match=r"copies\.away\.secret_access_key: the environment variable S"):
        settings.copies["away"].options(Path(), Path())


def test_references_of_a_tree_share_what_is_said_once_for_their_table() -> None:
    tree = """\
files:
      media:
        path: /srv/media
        refs:
          orders_orderfile.file: path
          orders_orderfile.preview: {kind: url, base: "https://cdn.example/"}
          sha256: orders_orderfile.checksum
          public.notes.attachments: {kind: json, field: path}
"""
    refs = parse(system(tree)).system("shop").files["media"].refs
    assert refs["orders_orderfile.file"].sha256 == "orders_orderfile.checksum"
    assert refs["orders_orderfile.preview"].base == "https://cdn.example/"
    assert refs["public.notes.attachments"].sha256 is None
    assert refs["public.notes.attachments"].field == "path"


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ("{path: m, types: [pdf]}", "'pdf' is neither a type"),
        ("{path: m, types: ['image/']}", "nor a suffix"),
        ("{path: m, endpoint: 'https://x'}", "without `bucket:`"),
        ("{bucket: 's3://b', select_user: 'dbmid:x'}", "without `dropbox:`"),
        ("{paths: [a], include: [b]}", "leave `include:` away"),
        ("{bucket: 'https://s3.example/b'}", "s3://bucket/prefix"),
        ("{bucket: 's3://'}", "s3://bucket/prefix"),
        ("{bucket: uploads}", "s3://bucket/prefix"),
        ("{bucket: 's3://key:hush@b'}", "keys by"),
    ],
)
def test_what_means_nothing_for_a_tree_is_an_error_and_not_overlooked(tree: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(system(f"files: {{media: {tree}}}"))
    assert said in raised.value.message
    assert "hush" not in raised.value.message


@pytest.mark.parametrize(
    ("store", "tree", "apart"),
    [
        ("s3://b/app/bk", "{bucket: s3://b/app}", ("app/bk",)),
        ("s3://b/app/bk/", "{bucket: s3://b}", ("app/bk",)),
        ("s3://b/application", "{bucket: s3://b/app}", ()),
        ("{url: s3://b/app/bk, endpoint: 'https://x'}", "{bucket: s3://b/app}", ()),
        ("s3://b/app", "{bucket: s3://b/app}", None),
        ("s3://b", "{bucket: s3://b/app}", None),
        ("dropbox:///Team/BACKUPS", "{dropbox: /Team, token: x}", ("/Team/BACKUPS",)),
        ("{url: 'dropbox:///BACKUPS', namespace: '7'}", "{dropbox: /, token: x}", ()),
        ("dropbox:///BACKUPS", "{dropbox: /backups/app, token: x}", None),
    ],
)
def test_a_tree_knows_what_of_it_is_backups(store: str, tree: str, apart: tuple[str, ...] | None) -> None:
    text = system(f"files: {{media: {tree}}}").replace("vault: v", f"vault: v\ncopies: {{away: {store}}}")
    settings = parse(text)
    files = settings.system("shop").files["media"]
    if apart is None:
        with pytest.raises(ConfigError, match="where backups are kept"):
            open_tree(settings, files)
        return
    source = open_tree(settings, files)
    assert isinstance(source, BucketSource | DropboxSource)
    assert source.apart == apart


def test_what_a_tree_is_made_of_may_come_later() -> None:
    for tree in ("{bucket: '${env:B}', region: x}", "{path: m, types: ['image/*', .DWG, application/pdf]}"):
        assert parse(system(f"files: {{media: {tree}}}")).system("shop").files


def test_an_identity_is_a_secret_and_not_needed_to_read_the_file(tmp_path: Path) -> None:
    _, recipient = crypto.generate()
    text = f"encryption: {{recipients: [{recipient}], identity: '${{file:key}}'}}\n" + system("")
    settings = parse(text, tmp_path)
    assert settings.encryption is not None
    assert settings.encryption.recipients == (recipient,)
    assert settings.encryption.identity is not None
    with pytest.raises(ConfigError, match=r"encryption\.identity: cannot read"):
        settings.encryption.identity.get()
    (tmp_path / "key").write_text("AGE-SECRET-KEY-1EXAMPLE")
    assert "AGE-SECRET-KEY-1EXAMPLE" not in repr(parse(text, tmp_path))


def test_a_system_may_keep_its_backups_differently() -> None:
    settings = parse("retention: {daily: 30}\n" + system("retention: {last: 3, same_day: replace}"))
    own = settings.retention_of("shop")
    assert own is not None
    assert (own.last, own.daily, own.same_day) == (3, 0, "replace")
    shared = settings.retention_of("gone")
    assert shared is not None
    assert shared.daily == 30
    assert parse("retention: {daily: 30}\n" + system("")).retention_of("shop") == shared
    # Said to have none: what the file says of all must not delete what this one keeps.
    assert parse("retention: {daily: 30}\n" + system("retention: null")).retention_of("shop") is None


def test_places_with_similar_names_are_apart() -> None:
    """Whole steps are compared, and servers too; what is not known yet is not compared."""
    names = [
        "/srv/v2",
        "s3://b/v",
        "s3://b/v2",
        "{url: s3://b/v, endpoint: 'https://elsewhere'}",
        "'${env:A}'",
        "'${env:B}'",
    ]
    text = "copies:\n" + "".join(f"  c{number}: {name}\n" for number, name in enumerate(names))
    assert len(parse(text + system("").replace("vault: v", "vault: /srv/v")).copies) == len(names)


def test_a_name_that_yaml_takes_for_a_truth_value_is_a_name() -> None:
    settings = parse("copies: {off: ./a, on: ./b, yes: ./c}\n" + system(""))
    assert tuple(settings.copies) == ("off", "on", "yes")
