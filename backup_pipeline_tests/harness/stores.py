"""Real S3 servers for tests: `rclone serve s3`, which checks every signature, moto, which knows the rest of S3, and
ministack, which enforces what it says. How other servers differ from these is in `other_servers`.

Each is started when the first test asks, once per test process, on a port of its own, and ends with the process. Buckets
are cheap; each test gets one of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.services.aws import AwsAccess, client
from backup_pipeline.stores.base import ObjectLocks, Store
from backup_pipeline.stores.options import StoreOptions
from backup_pipeline.vault import lock
from backup_pipeline_tests.harness.ports import free_port

_numbers = itertools.count(1)


def locks_of(store: Store) -> ObjectLocks:
    found = store.object_locks()
    assert found is not None
    return found


@dataclass(frozen=True)
class S3Server:
    name: str
    endpoint: str
    access_key_id: str = "K"
    secret_access_key: str = field(default="S", repr=False)
    #: rclone: the folder whose folders are the buckets.
    folder: Path | None = None

    @property
    def access(self) -> AwsAccess:
        return AwsAccess(
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
        )

    @property
    def client(self) -> Any:
        return client(self.access)

    def make_bucket(self, **more: Any) -> str:
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        self.client.create_bucket(Bucket=name, **more)
        return name

    def options(self, url: str, staging: Path, **more: Any) -> StoreOptions:
        given = StoreOptions(
            url=url,
            staging=staging,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
        )
        return replace(given, **more)

    def yaml(self) -> str:
        """The lines of backup.yaml that say how to sign in, indented for a store."""
        return (
            f"  endpoint: {self.endpoint}\n  region: us-east-1\n"
            f"  access_key_id: {self.access_key_id}\n  secret_access_key: {self.secret_access_key}\n"
        )


def wait_for_port(process: subprocess.Popen[bytes], port: int, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen")


@contextlib.contextmanager
def served(
    argv: list[str], port: int, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server of our own, until the block ends."""
    process = subprocess.Popen(
        argv,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(process, port)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def program(name: str) -> str:
    """A program of the same environment, wherever that is."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@contextlib.contextmanager
def rclone_s3() -> Iterator[S3Server]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="rclone-s3-") as folder:
        key, secret = f"key{secrets.token_hex(4)}", secrets.token_hex(12)
        argv = [
            program("rclone"),
            "serve",
            "s3",
            "--addr",
            f"127.0.0.1:{port}",
            "--auth-key",
            f"{key},{secret}",
        ]
        with served([*argv, "--vfs-cache-mode", "off", folder], port, {"RCLONE_CONFIG": os.devnull}):
            yield S3Server("rclone", f"http://127.0.0.1:{port}", key, secret, Path(folder))


@contextlib.contextmanager
def moto_s3(*, strict: bool = False) -> Iterator[S3Server]:
    """`strict`: unknown keys are refused, and IAM policies hold."""
    port = free_port()
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    if strict:
        env["INITIAL_NO_AUTH_ACTION_COUNT"] = "0"
    argv = [sys.executable, "-m", "backup_pipeline_tests.harness.moto_in_turn"]
    with served([*argv, "-H", "127.0.0.1", "-p", str(port)], port, env):
        yield S3Server("moto", f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def ministack_s3(folder: Path, *, port: int | None = None) -> Iterator[S3Server]:
    """It compares bodies with their MD5, creates conditionally, also by the last part, and enforces object locks; those of
    uploads in parts it ignores, as Ceph does. What it holds is in the folder, and is there again when it is."""
    argv = Path(sys.executable).parent.parent / "servers" / "ministack" / "bin" / "ministack"
    if not argv.exists():
        pytest.skip("ministack is not installed: `make setup`")
    port = port or free_port()
    env = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "SERVICES": "s3",
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder),
        "TMPDIR": str(folder),
    }
    with served([str(argv)], port, env):
        yield S3Server("ministack", f"http://127.0.0.1:{port}")


@pytest.fixture
def one_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new lock is looked at again at once: no second process writes into the vault of these tests."""
    monkeypatch.setattr(lock, "SETTLE", 0.0)


@pytest.fixture(scope="session")
def ministack_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with ministack_s3(tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[S3Server]:
    with rclone_s3() as server:
        yield server


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    with moto_s3() as server:
        yield server


@pytest.fixture(scope="session")
def strict_moto_server() -> Iterator[S3Server]:
    with moto_s3(strict=True) as server:
        yield server


@pytest.fixture(scope="session", params=["rclone", "moto"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Runs the test on a server that checks signatures and on one that creates conditionally."""
    server: S3Server = request.getfixturevalue(f"{request.param}_server")
    return server
