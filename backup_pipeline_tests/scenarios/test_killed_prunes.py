"""A prune may be killed with -9 at any moment: what is listed is whole, nothing needed is gone, the next one finishes."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from backup_pipeline.vault import layout, records
from backup_pipeline.vault.presence import missing
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.verify import verify_all
from backup_pipeline_tests.harness import warm
from backup_pipeline_tests.harness.handmade import back_up_by_hand, shop, shop_vault, table
from backup_pipeline_tests.harness.soak import SEED, time_is_over


def _prune(vault: Vault, number: int, moment: str = "before", last: int = 1) -> int | None:
    """How many deeds there were; None when it was killed at one of them."""
    code = "import sys; from backup_pipeline_tests.harness.dying import main; main(*sys.argv[1:])"
    ended, deeds, errors = warm.start(code, vault.store.address, str(number), moment, str(last)).ended()
    if ended == -signal.SIGKILL:
        return None
    assert ended == 0, errors
    return int(deeds)


def _sound(vault: Vault) -> None:
    for system in vault.systems():
        report = verify_all(vault, system)
        assert report.errors == ()
        assert report.findings == ()
        for identifier in vault.ids(system):
            assert missing(vault.store, vault.backup(system, identifier).manifest.objects()) == []


def _objects(vault: Vault) -> set[str]:
    return {stat.key for stat in vault.store.list(layout.OBJECTS)}


def _nights(vault: Vault, first: int, last: int) -> None:
    """Two systems that share some objects and not others."""
    for night in range(first, last + 1):
        back_up_by_hand(vault, shop(night), night)
        own = table("rooms", {"id": "integer"}, b"%d\n" % night)
        back_up_by_hand(vault, [*shop(night)[:1], own], night, system="office")


def _scenario(folder: Path, kills: int, seed: int) -> None:
    vault = shop_vault(folder / "vault", nights=1)
    _nights(vault, 2, 6)
    dice = random.Random(seed)
    killed, night, deeds = 0, 6, 60
    while killed < kills and not time_is_over():
        moment = dice.choice(("before", "after"))
        done = _prune(vault, dice.randrange(1, deeds), moment, dice.choice((1, 2)))
        _sound(vault)
        if done is None:
            killed += 1
        elif night < 26:
            # It had less to do than the dice thought.
            night += 1
            _nights(vault, night, night)
        else:
            _nights_again(vault, dice)
    assert _prune(vault, 0) is not None
    assert _prune(vault, 0) is not None  # what was spared for the locks of the killed ones goes now
    _sound(vault)
    named = {
        layout.object_key(one)
        for system in vault.systems()
        for name in vault.ids(system)
        for one in vault.backup(system, name).manifest.objects()
    }
    assert _objects(vault) == named
    for system in vault.systems():
        assert len(vault.ids(system)) == 1
        assert vault.interrupted(system) == vault.without_manifest(system) == ()
        assert records.leftovers(vault.store, system, vault.ids(system)) == ()


def _nights_again(vault: Vault, dice: random.Random) -> None:
    """Rubbish of a killed backup, so that there is something to delete again."""
    for _ in range(20):
        vault.writer.write_bytes(dice.randbytes(30), ".tsv.zst")


def test_a_prune_that_is_killed_at_any_deed_hurts_nothing(tmp_path: Path) -> None:
    _scenario(tmp_path, 5, 20261121)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_prune_survives_a_hundred_kills(tmp_path: Path) -> None:
    _scenario(tmp_path, 100, SEED)
