"""`help TOPIC`: who installed a wheel has the documentation, too."""

from __future__ import annotations

import fnmatch
import tomllib
from pathlib import Path

import pytest

from backup_pipeline.cli.help import TOPICS
from backup_pipeline_tests.harness import commands

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "backup_pipeline"


def test_every_page_of_the_documentation_is_a_topic() -> None:
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"}
    assert {page for page, _ in TOPICS.values()} == {*pages, "vault/FORMAT.md"}


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_is_printed_as_it_stands_in_the_repository(topic: str, tmp_path: Path) -> None:
    shown = commands.invoke("help", topic, cwd=tmp_path)
    name = Path(TOPICS[topic][0]).name
    page = PACKAGE / "vault" / name if topic == "format" else ROOT / "docs" / name
    assert (shown.code, shown.stdout) == (0, page.read_text(encoding="utf-8"))


def test_the_pages_are_among_the_files_of_a_wheel() -> None:
    """Setuptools takes what these patterns name; it follows the link to docs/."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    patterns = data["package-data"]["backup_pipeline"]
    for page, _ in TOPICS.values():
        if page.startswith("docs/"):
            assert any(fnmatch.fnmatch(page, pattern) for pattern in patterns), page
        assert (PACKAGE / page).is_file()


def test_help_of_a_verb_is_its_help_and_without_a_topic_the_topics_are_named(tmp_path: Path) -> None:
    def said(*arguments: str) -> str:
        return commands.invoke(*arguments, cwd=tmp_path).stdout

    assert said("help", "restore").split() == said("restore", "--help").split()
    assert all(f"{topic} " in said("help") for topic in TOPICS)
    wrong = commands.invoke("help", "confg", cwd=tmp_path)
    assert wrong.code == 2
    assert "there are commands, config" in wrong.stderr


def test_no_message_names_a_file_of_the_repository() -> None:
    """`docs/CONFIGURATION.md describes every setting` is no help where there is no docs/."""
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if ("docs/" in line and path.name != "help.py" and not line.startswith(('"""', "#")))
    ]
    assert found == []
