"""Who may come in to an SFTP server, and the error for the others; addresses."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import asyncssh
import pytest

from backup_pipeline.errors import BackupError, ConfigError, StoreUnavailable, VaultError
from backup_pipeline.stores.base import read_all
from backup_pipeline.stores.opening import open_store
from backup_pipeline.stores.retrying import RetryingStore
from backup_pipeline.stores.sftp.session import Address
from backup_pipeline.stores.sftp.store import SftpStore
from backup_pipeline_tests.harness.sftp_server import PASSWORD, SftpServer


def test_an_unknown_host_is_refused_with_its_fingerprint(openssh: SftpServer, tmp_path: Path) -> None:
    nobody = tmp_path / "known_hosts"
    nobody.write_text("")
    store = SftpStore(openssh.options(openssh.fresh(), tmp_path / "staging", known_hosts=nobody))
    key = asyncssh.read_public_key(openssh.folder / "host.pub")
    with pytest.raises(VaultError, match="not known") as caught:
        store.put("k", b"x")
    assert key.get_fingerprint() in caught.value.message
    assert f"ssh-keyscan -p {openssh.port} 127.0.0.1 >> {nobody}" in caught.value.remedy


def test_a_host_with_another_key_is_refused_as_such(openssh: SftpServer, tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    hosts = tmp_path / "known_hosts"
    hosts.write_text(f"[127.0.0.1]:{openssh.port} {other}")
    store = SftpStore(openssh.options(openssh.fresh(), tmp_path / "staging", known_hosts=hosts))
    with pytest.raises(VaultError, match="is not the one in") as caught:
        store.put("k", b"x")
    assert "ssh-keygen -R" in caught.value.remedy


@pytest.mark.parametrize(
    ("wrong", "message", "remedy"),
    [
        ("key", "does not let us in", "authorized_keys"),
        ("no key", "does not exist", "key_file"),
        ("passphrase", "cannot be used", "ssh-agent"),
        ("no hosts", "does not exist", "ssh-keyscan"),
    ],
)
def test_what_keeps_us_out_is_said_at_once(
    openssh: SftpServer, tmp_path: Path, wrong: str, message: str, remedy: str
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    more: dict[str, object] = {"key_file": tmp_path / "key"}
    if wrong == "no hosts":
        more = {"known_hosts": tmp_path / "nothing"}
    elif wrong != "no key":
        secret = "secret" if wrong == "passphrase" else None
        (tmp_path / "key").write_bytes(key.export_private_key("pkcs8-pem", passphrase=secret))
    waited: list[float] = []
    store = open_store(openssh.options(openssh.fresh(), tmp_path / "staging", **more))
    assert isinstance(store, RetryingStore)
    store = replace(store, patience=replace(store.patience, sleep=waited.append))
    with pytest.raises(BackupError, match=message) as caught:
        store.put("k", b"x")
    assert not isinstance(caught.value, StoreUnavailable)
    assert remedy in caught.value.remedy
    assert waited == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to sign in as another account")
def test_a_folder_that_may_not_be_written_is_said_at_once(openssh: SftpServer, tmp_path: Path) -> None:
    options = openssh.options(openssh.fresh(), tmp_path / "staging")
    options = replace(options, url=options.url.replace("//root@", "//nobody@"))
    store = open_store(options)
    with pytest.raises(VaultError, match="ermission denied") as caught:
        store.put("k", b"x")
    assert not isinstance(caught.value, StoreUnavailable)
    assert "write" in caught.value.remedy


def test_a_password_opens_and_is_never_shown(rclone_sftp: SftpServer, tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(tmp_path / "stranger")
    given = rclone_sftp.options(
        rclone_sftp.fresh(), tmp_path / "staging", key_file=tmp_path / "stranger", password=PASSWORD
    )
    store = SftpStore(given)
    store.put("k", b"x")
    assert read_all(store, "k") == b"x"
    user = rclone_sftp.user
    url = given.url.replace(f"{user}@", f"{user}:{quote(PASSWORD, safe='')}@")
    inside = SftpStore(replace(given, url=url, password=None))
    assert read_all(inside, "k") == b"x"
    assert PASSWORD not in inside.address
    with pytest.raises(VaultError) as caught:
        SftpStore(replace(given, password="wrong-secret")).put("k2", b"x")
    assert "wrong-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "path", "shown"),
    [
        ("sftp://me@host:2222/srv/backups/", "/srv/backups", "sftp://me@host:2222/srv/backups"),
        ("sftp://host/~/backups", "backups", "sftp://host/~/backups"),
        ("sftp://host/", "", "sftp://host/"),
        ("sftp://me:geheim@[::1]:22/a%20b", "/a b", "sftp://me@[::1]:22/a b"),
    ],
)
def test_addresses(url: str, path: str, shown: str) -> None:
    address = Address.of(url)
    assert (address.path, str(address)) == (path, shown)


@pytest.mark.parametrize(
    "url", ["sftp://host", "sftp:///folder", "sftp://host:port/x", "sftp://me:gehe/im@host/x"]
)
def test_an_address_that_is_none_is_an_error_of_the_configuration(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Address.of(url)
    assert "gehe" not in str(caught.value)


@pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="no ssh-agent here (openssh-client)")
def test_an_agent_opens_where_no_key_file_is_named(
    openssh: SftpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A short path: that of a socket may not be longer than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="agent-") as folder:
        socket = Path(folder) / "agent"
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        monkeypatch.setenv("HOME", str(tmp_path))
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
        try:
            while not socket.exists():
                time.sleep(0.01)
            subprocess.run(["ssh-add", str(openssh.key_file)], check=True, capture_output=True)
            store = SftpStore(openssh.options(openssh.fresh(), tmp_path / "staging", key_file=None))
            store.put("k", b"x")
            assert read_all(store, "k") == b"x"
        finally:
            agent.terminate()
            agent.wait()
