"""Bad days between a vault and its copy in a bucket: the copy lists whole backups only, and in the end it has them all."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backup_pipeline.copies.compare import compare
from backup_pipeline.copies.replicate import replicate
from backup_pipeline.errors import BackupError
from backup_pipeline.services.aws import client
from backup_pipeline.stores.retrying import Patience, RetryingStore
from backup_pipeline.stores.s3 import store as s3
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline.vault import lock
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness.fault_proxy import FaultProxy, Kind, fault_proxy, plan
from backup_pipeline_tests.harness.handmade import back_up_by_hand, prepared, table
from backup_pipeline_tests.harness.soak import in_time, seeds, time_is_over
from backup_pipeline_tests.harness.stores import S3Server

ATTEMPTS = 4
PART = 5 * 1024 * 1024


def impatient(seconds: float) -> None:
    time.sleep(min(seconds, 0.005))


@dataclass
class Route:
    server: S3Server
    proxy: FaultProxy
    folder: Path

    def __post_init__(self) -> None:
        self.bucket = self.server.make_bucket()
        self.options = self.server.options(f"s3://{self.bucket}/copy", self.folder / "staging")

    @property
    def straight(self) -> Vault:
        return Vault(S3Store(self.options))

    @property
    def through(self) -> Vault:
        access = replace(self.server.access, endpoint=self.proxy.endpoint, read_seconds=1)
        options = replace(
            self.options, endpoint=self.proxy.endpoint, clients=lambda service: client(access, service)
        )
        return Vault(RetryingStore(S3Store(options), Patience(attempts=ATTEMPTS, least=0.0, sleep=impatient)))


@pytest.fixture(scope="session", params=["moto", "rclone"])
def faulty(request: pytest.FixtureRequest) -> Iterator[tuple[S3Server, FaultProxy]]:
    server: S3Server = request.getfixturevalue(f"{request.param}_server")
    with fault_proxy(server.endpoint) as proxy:
        yield server, proxy


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    """Three nights, each with an object that is sent in two parts."""
    monkeypatch.setattr(s3, "PART", PART)
    monkeypatch.setattr(lock, "SETTLE", 0.05)
    made = prepared(tmp_path / "vault")
    dice = random.Random(5)
    for night in (1, 2, 3):
        big = dice.randbytes(PART + 1_500_000).hex().encode() + b"\n"
        back_up_by_hand(made, [table("big", {"id": "text"}, big)], night)
    return made


def one_bad_day(seed: int, vault: Vault, route: Route, usual: Counter[Kind]) -> str:
    planned = plan(seed, usual, attempts=ATTEMPTS)
    route.proxy.expect(planned)
    ends = []
    for _ in range(8):
        try:
            report = replicate(vault, route.through, "shop")
            assert report.ok, report.findings
            ends.append("copied")
        except BackupError as error:
            ends.append(error.code)
        if route.straight.ids("shop"):
            assert verify_all(route.straight, "shop", quick=True).errors == ()
        if ends[-1] == "copied":
            break
    assert ends[-1] == "copied", ends
    assert route.proxy.fired, "a day on which nothing went wrong shows nothing"
    assert compare(vault, route.straight, "shop").same
    return " ".join(ends)


def run(seeds: range, vault: Vault, faulty: tuple[S3Server, FaultProxy], folder: Path) -> Counter[str]:
    server, proxy = faulty
    proxy.expect([])
    replicate(vault, Route(server, proxy, folder).through, "shop")
    usual = Counter(proxy.counted)
    return Counter(one_bad_day(seed, vault, Route(server, proxy, folder), usual) for seed in in_time(seeds))


def test_a_copy_over_a_bad_line_is_whole_or_not_listed(
    vault: Vault, faulty: tuple[S3Server, FaultProxy], tmp_path: Path
) -> None:
    # Seed 8: an outage that is longer than our patience, and lesser trouble before it.
    run(range(8, 9), vault, faulty, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_forty_copies_over_bad_lines(
    vault: Vault, faulty: tuple[S3Server, FaultProxy], tmp_path: Path
) -> None:
    ends = run(seeds(20, 60), vault, faulty, tmp_path)
    assert any(end != "copied" for end in ends) or time_is_over(), (
        "some plans have an outage that is longer than our patience"
    )
