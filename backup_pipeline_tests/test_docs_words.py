"""Pages, docstrings and comments use plain words: short sentences, and no pronoun where a noun can stand."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
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


ROOMS = (*sorted((ROOT / "backup_pipeline").glob("[a-z]*")), ROOT / "backup_pipeline_tests")
THIS = Path(__file__).resolve()


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


def texts(source: str) -> Iterator[str]:
    """Docstrings without their indented blocks, and blocks of full-line comments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (ast.get_docstring(node) or "").splitlines()
            yield "\n".join("" if line.startswith("    ") else line for line in lines)
    comments = [
        one for one in tokenize.generate_tokens(io.StringIO(source).readline) if one.type == tokenize.COMMENT
    ]
    text, last = "", (0, 0)
    for comment in comments:
        row, column = comment.start
        if (row - 1, column) != last:
            yield text
            text = ""
        text, last = f"{text} {comment.string.lstrip('#: ')}", (row, column)
    yield text


def test_docstrings_and_comments_are_read_as_text() -> None:
    source = '"""Whole.\n\nText:\n\n    a   table\n"""\nn = 1  # one\n# two\n# three\n'
    assert [one.strip() for one in texts(source) if one.strip()] == ["Whole.\n\nText:", "one", "two three"]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_docstrings_and_comments_use_plain_words(room: Path) -> None:
    modules = [room] if room.is_file() else sorted(room.rglob("*.py"))
    assert [
        f"{path.relative_to(ROOT)}: {one}"
        for path in modules
        if path != THIS
        for text in texts(path.read_text(encoding="utf-8"))
        for one in hard(text)
    ] == []


@pytest.mark.parametrize(
    "package", sorted((ROOT / "backup_pipeline").glob("*/**/__init__.py")), ids=lambda path: path.parent.name
)
def test_a_package_tells_what_belongs_in_it_and_what_does_not(package: Path) -> None:
    text = ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))) or ""
    assert re.search(r"belongs here:\s.*(?:not here|does not):\s", text, re.DOTALL | re.IGNORECASE)
