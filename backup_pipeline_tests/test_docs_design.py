"""ARCHITECTURE.md stays short and complete, and each decision keeps its number and its form."""

from __future__ import annotations

import re

from backup_pipeline_tests.test_architecture import LAYERS, PACKAGE

ROOT = PACKAGE.parent
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


def test_the_architecture_is_read_in_ten_minutes() -> None:
    assert len(ARCHITECTURE.split()) <= 1300


def test_every_room_is_named_in_the_architecture_and_none_that_is_gone() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.name[0] != "_" and path.name != "docs"}
    named = set(re.findall(r"^\| `(\w+)` \|", ARCHITECTURE, re.MULTILINE))
    assert named == {room for room in rooms if room in {name for row in LAYERS for name in row}}


def test_the_files_that_the_architecture_names_exist() -> None:
    for name in re.findall(r"`([\w/]+\.py)`", ARCHITECTURE):
        assert (PACKAGE / name).exists() or (ROOT / name).exists(), name


def test_the_tests_beside_the_failures_exist() -> None:
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"`([\w/]+\.py)`", text.partition("## When things break")[2])
    assert names
    assert [name for name in names if not (ROOT / "backup_pipeline_tests" / name).exists()] == []


def test_each_decision_has_its_number_and_its_reason() -> None:
    seen: set[str] = set()
    for page in DECISIONS:
        if page.name == "README.md":
            text = page.read_text(encoding="utf-8")
            assert [
                other.name for other in DECISIONS if other != page and f"({other.name})" not in text
            ] == []
            continue
        prefixes = set()
        for decision in page.read_text(encoding="utf-8").split("\n### ")[1:]:
            number = re.match(r"([A-Z]{2})\d+ · \S", decision)
            assert number, f"{page.name}: {decision[:60]}"
            name = decision.partition(" · ")[0]
            assert name not in seen, name
            seen.add(name)
            prefixes.add(number[1])
            parts = re.findall(r"^\*\*(\w+(?: up)?)\*\* \S", decision, re.MULTILINE)
            known = ["Decided", "Because", "Measured", "Given up"]
            assert parts[:2] == known[:2], f"{page.name}: {name}"
            assert parts == [part for part in known if part in parts], f"{page.name}: {name}"
        assert len(prefixes) == 1, page.name
    assert len(seen) > 80
