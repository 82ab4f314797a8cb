"""The finished pages use plain words: short sentences, and no pronoun where a noun can stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 25
AVOIDED = re.compile(r"\b(?:nobody|somebody|whoever|whatever)\b", re.IGNORECASE)

#: A page enters this list when it is rewritten, and stays in it.
FINISHED = sorted(
    [
        ROOT / "ARCHITECTURE.md",
        ROOT / "CHANGELOG.md",
        ROOT / "README.md",
        ROOT / "backup_pipeline" / "vault" / "FORMAT.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
)


def sentences(text: str) -> list[str]:
    """Every sentence outside of code; a cell of a table is text of its own, and code counts as one word."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "code", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"^\s*(?:[-*]|\d+\.|#+) ", "\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"^\*\*(?:Decided|Because|Measured|Given up)\*\*", "\n\n", text, flags=re.MULTILINE)
    parts = re.split(r"\n\s*\n|(?<=\S)\n(?=\|)|\|", text)
    return [one for part in parts for one in re.split(r"(?<=[.!?:;·])\s+", " ".join(part.split())) if one]


def hard(text: str) -> list[str]:
    return [one for one in sentences(text) if len(one.split()) > LONGEST or AVOIDED.search(one)]


def test_a_long_sentence_and_an_avoided_word_are_found() -> None:
    assert hard(
        "Short. " + "word " * 26 + ".\n\nWhoever reads this.\n\n```\n" + "word " * 30 + "\n```\n"
    ) == [
        ("word " * 26 + ".").strip(),
        "Whoever reads this.",
    ]
    assert hard("| " + "word " * 20 + "| " + "word " * 20 + "|\n") == []


@pytest.mark.parametrize("page", FINISHED, ids=lambda page: page.name)
def test_a_finished_page_uses_plain_words(page: Path) -> None:
    assert hard(page.read_text(encoding="utf-8")) == []
