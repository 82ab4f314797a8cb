"""Scrubbing: a part each time, all of it within the window, and what is damaged is named with whom it hurts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_pipeline.model.ids import parse_timestamp, timestamp
from backup_pipeline.model.vault_records import Scrubbed, ScrubState
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.scrub import PARTS, ScrubReport, choose, read_state, scrub
from backup_pipeline_tests.harness.damage import alter, rewrite
from backup_pipeline_tests.harness.handmade import identifier_of, shop_vault

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WINDOW = timedelta(days=28)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return shop_vault(tmp_path / "vault", nights=3)


def scrubbed(vault: Vault, days: float = 0, **more: object) -> ScrubReport:
    now = NOW + timedelta(days=days)
    return scrub(vault, window=WINDOW, interval=timedelta(days=7), now=now, **more)  # type: ignore[arg-type]


def total(vault: Vault) -> tuple[int, int]:
    found = list(vault.store.list(layout.OBJECTS))
    return len(found), sum(stat.size for stat in found)


@pytest.mark.rule("K7")
def test_after_a_window_everything_was_read_and_the_vault_knows_it(vault: Vault) -> None:
    objects = size = 0
    for week in range(4):
        found = scrubbed(vault, 7 * week)
        assert found.report.findings == ()
        assert found.read == 64
        assert found.covered == 64 * (week + 1)
        objects += found.report.counted["objects"]
        size += found.report.counted["bytes"]
    assert (objects, size) == total(vault)
    assert found.oldest == timestamp(NOW)
    assert found.known_bytes == size
    held = json.loads((Path(vault.store.address) / "scrub.json").read_bytes())
    assert set(held["parts"]) == set(PARTS)
    assert all(set(part) <= {"at", "objects", "bytes", "damaged"} for part in held["parts"].values())
    assert sum(part.get("objects", 0) for part in held["parts"].values()) == objects
    # Round again: the first part first.
    scrubbed(vault, 28)
    assert len([part for part in read_state(vault).parts.values() if part.at == timestamp(NOW)]) == 0


def test_damage_is_named_with_every_backup_that_it_hurts(vault: Vault) -> None:
    shared = vault.backup("shop", identifier_of(1)).manifest.tables[1].chunks[0].object
    gone = vault.backup("shop", identifier_of(3)).manifest.tables[1].chunks[1].object
    path = Path(vault.store.address) / layout.object_key(shared)
    alter(path)
    vault.store.delete(layout.object_key(gone))
    nobody = vault.writer.write_bytes(b"nobody's\n", ".tsv.zst")
    path = Path(vault.store.address) / layout.object_key(nobody)
    rewrite(path, b"altered")
    found = scrubbed(vault, everything=True)
    by_code = {(one.severity, one.code): one for one in found.report.findings}
    assert set(by_code) == {
        ("error", "object-altered"),
        ("error", "object-missing"),
        ("warning", "object-altered"),
    }
    assert by_code["error", "object-altered"].examples == tuple(f"shop {identifier_of(n)}" for n in (1, 2, 3))
    assert by_code["error", "object-missing"].examples == (f"shop {identifier_of(3)}",)
    assert "repair shop" in by_code["error", "object-missing"].remedy
    assert sum(part.damaged for part in read_state(vault).parts.values()) == 2


def test_manifests_are_compared_with_their_seals_at_each_run(vault: Vault) -> None:
    path = Path(vault.store.address) / layout.manifest_key("shop", identifier_of(2))
    rewrite(path, path.read_bytes().replace(b"manual", b"import"))
    (Path(vault.store.address) / layout.manifest_key("shop", identifier_of(1))).unlink()
    codes = {one.code for one in scrubbed(vault).report.findings}
    assert {"seal-broken", "manifest-missing"} <= codes


def test_a_vault_that_can_only_be_read_is_scrubbed_all_the_same(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backup_pipeline.errors import VaultError

    def refused(self: LocalStore, key: str, data: object, *, overwrite: bool = False) -> None:
        raise VaultError("read-only")

    monkeypatch.setattr(LocalStore, "put", refused)
    found = scrubbed(vault, everything=True)
    assert [one.code for one in found.report.findings] == ["scrub-not-remembered"]
    assert found.report.counted["objects"] == total(vault)[0]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.lists(st.integers(0, 3), min_size=30, max_size=30))
def test_no_part_grows_older_than_the_window_when_runs_come_in_time(
    window_days: int, interval_days: int, skips: list[int]
) -> None:
    """However often it runs; and after runs that did not come, the next ones make up for it."""
    window, interval = timedelta(days=window_days), timedelta(days=interval_days)
    state, now, late = ScrubState(), NOW, False
    for skip in skips:
        late = skip == 3
        now += interval * (3 if late else 1)
        chosen = choose(state, now, window=window, interval=interval)
        assert chosen
        state = ScrubState({**state.parts, **dict.fromkeys(chosen, Scrubbed(timestamp(now)))})
        ages = [now + interval - parse_timestamp(part.at) for part in state.parts.values()]
        assert max(ages) <= max(window, interval)


def test_what_is_damaged_is_said_by_every_scrub_until_it_is_healed(vault: Vault) -> None:
    """One red run in a month is easily overlooked, and the green ones after it would be believed."""
    hurt = vault.backup("shop", identifier_of(1)).manifest.tables[1].chunks[0].object
    path = Path(vault.store.address) / layout.object_key(hurt)
    whole = path.read_bytes()
    alter(path)
    week = next(week for week in range(4) if scrubbed(vault, 7 * week).report.findings)
    for later in (week + 1, week + 2):
        found = scrubbed(vault, 7 * later)
        assert [one.code for one in found.report.findings] == ["object-altered"]
    rewrite(path, whole)
    assert scrubbed(vault, 7 * (week + 3)).report.findings == ()
    assert read_state(vault).parts[hurt.sha256[:2]].damaged == 0
