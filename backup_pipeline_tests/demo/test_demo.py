"""The demo is the first thing that anybody runs: it must work, be honest, and fit on two screens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline import config, demo
from backup_pipeline.demo import story
from backup_pipeline.demo.living import Life
from backup_pipeline.errors import ConfigError, ProofFailed
from backup_pipeline.operations import Site
from backup_pipeline.operations.listing import list_backups
from backup_pipeline.operations.reading import show
from backup_pipeline_tests.harness import commands


@pytest.mark.server
def test_the_demo_breaks_a_shop_and_brings_it_back(tmp_path: Path) -> None:
    said: list[str] = []
    ending = demo.run(tmp_path / "demo", say=said.append)
    assert ending.restored == ending.before != ending.broken
    assert ending.broken["payments"] == "no such table"
    assert ending.broken["files on disk"] == "419"
    assert ending.restored["rows out of step"] == "0"
    assert (ending.posts, ending.uploads) == (60, 60), "of the blog, from the second disk"
    assert ending.tables_compared == 6
    assert ending.rows_compared == 149_200
    assert ending.files_compared >= 50
    assert ending.first_new_order == 30_301
    text = "\n".join(said)
    assert len(text.splitlines()) <= 84, "the demo should fit on two screens"
    assert max(map(len, text.replace(str(tmp_path), "").splitlines())) <= 120
    assert "PROVEN" in text

    # Into the living shop: what was lost is back, what was made since stays, and an undo of the undo is the same again.
    shop, blog = ending.shop, ending.blog
    assert (shop.before["customers"], shop.damaged["customers"], shop.merged["customers"]) == (
        "5,000",
        "4,900",
        "5,000",
    )
    assert shop.merged["new orders"] == "41"
    assert shop.undone["customers"] == "4,900"
    assert shop.again == shop.merged
    assert (blog.merged["posts of Zoë"], blog.merged["her number"], blog.merged["his number"]) == (
        "20",
        "4",
        "3",
    )
    assert blog.again == blog.merged != blog.undone

    # What it leaves can be looked at: two backups, the second one proven, the first linked from it; and the copy.
    site = Site(config.load(tmp_path / "demo" / "backup.yaml"))
    first, second, *before = list_backups(site, "shop")
    assert [line.kind for line in before] == ["pre-restore", "pre-restore"]
    assert second.proven_at is not None
    assert first.proven_at is None
    assert show(site, "shop").previous == site.vault.backup("shop", first.id).link
    assert site.copy("second_disk").ids("shop") == (first.id, second.id)
    post, *_ = list_backups(site, "blog")
    assert all(line.verified_at and line.proven_at for line in (second, post))
    status = commands.invoke("status", "--config", str(tmp_path / "demo" / "backup.yaml"), cwd=tmp_path)
    assert status.code == 0, status.stdout
    assert "They have no schedule" in text

    # Encrypted: neither place gives away what is in it.
    for place in ("vault", "second-disk"):
        for path in (tmp_path / "demo" / place).rglob("*"):
            assert not path.is_file() or b"order_items" not in path.read_bytes(), path


LOST, MADE = {"orders": "30,300"}, {"new orders": "41"}
DAMAGED = {"orders": "29,694", **MADE}
LIFE = Life(
    before={**LOST, "new orders": "0"},
    damaged=DAMAGED,
    merged={**LOST, **MADE},
    undone=DAMAGED,
    again={**LOST, **MADE},
)


def test_a_merge_that_did_all_that_it_should_is_taken() -> None:
    LIFE.demand(tuple(LOST), tuple(MADE), DAMAGED)


@pytest.mark.parametrize(
    "wrong",
    [
        {"merged": {**DAMAGED}},
        {"merged": {**LOST, "new orders": "0"}},
        {"undone": {**LOST, **MADE}},
        {"undone": {**DAMAGED, "new orders": "0"}},
        {"again": DAMAGED},
    ],
    ids=["lost rows are missing", "new rows are gone", "not undone", "undone too far", "not done again"],
)
def test_the_demo_fails_when_a_merge_did_something_else(wrong: dict[str, dict[str, str]]) -> None:
    with pytest.raises(ProofFailed, match="should be"):
        replace(LIFE, **wrong).demand(tuple(LOST), tuple(MADE), DAMAGED)


def test_the_demo_does_not_touch_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not empty"):
        demo.run(tmp_path, say=print)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.slow
@pytest.mark.server
def test_the_demo_fails_when_what_came_back_is_not_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A demo that cannot fail proves nothing: here the restored shop loses an order behind its back."""
    real = story.Shop.facts

    def tampered(shop: story.Shop) -> dict[str, str]:
        if shop.url.partition("?")[0].endswith("shop_restored"):
            shop._run(["DELETE FROM payments WHERE id = 1"])
        return real(shop)

    monkeypatch.setattr(story.Shop, "facts", tampered)
    with pytest.raises(ProofFailed, match="not what was there"):
        demo.run(tmp_path / "demo", say=lambda _: None)
