"""The repository itself: what a stranger who clones it relies on."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from backup_pipeline_tests.harness.dealing import deal, shares

ROOT = Path(__file__).resolve().parents[1]

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "backup_pipeline",
    "backup_pipeline_tests",
    "constraints.txt",
    "dagster.yaml",
    "pyproject.toml",
    "workspace.yaml",
}
# Also welcome; nothing else is without a decision.
OPTIONAL = {".github", "deploy", "docs", "examples"}

JUNK_DRAWERS = re.compile(r"^_?(utils?|helpers?|common|misc|stuff|shared|tools)(\.py)?$")

# Written in pieces, so that this file does not find itself.
PLACES = {
    "an absolute path of the machine it was written on": re.compile(
        r"/(?:work|root|home/[a-z]+)/(?:main|shared|\.)"
    ),
    "a folder beside the repository": re.compile(r"\.\./" + "shared/"),
    "a package registry or its mirror": re.compile(
        r"(?:index-url|find-links|trusted-host|UV_INDEX|/simple/|pypi\." + "org|pythonhosted)"
    ),
}


@cache
def tracked() -> tuple[Path, ...]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    # A link to a folder is no text; what is in the folder is tracked itself.
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


@pytest.mark.parametrize("name", ["dagster.yaml", "workspace.yaml"])
def test_the_files_of_the_top_level_are_those_that_the_product_writes(name: str) -> None:
    assert (ROOT / name).read_bytes() == (ROOT / "backup_pipeline" / "orchestration" / name).read_bytes()


def test_the_top_level_is_what_it_should_be() -> None:
    present = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert present >= TOP_LEVEL, "missing (or not yet in git)"
    assert present - TOP_LEVEL - OPTIONAL == set(), "unexpected"


@pytest.mark.parametrize("name", ["run", "bootstrap", "programs"])
def test_ci_scripts_are_executable(name: str) -> None:
    script = ROOT / ".ci" / name
    assert os.access(script, os.X_OK)
    shell = script.read_text(encoding="utf-8").splitlines()[0].removeprefix("#!").split()
    subprocess.run([*shell, "-n", str(script)], check=True)


def test_ci_runs_lint_and_test() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert {"make lint", "make test", "set -euo pipefail"} <= set(lines)


def test_every_make_target_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    shown = subprocess.run(
        ["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"make ([a-z-]+)  ", shown)) == set(phony[1].split())
    assert {"setup", "demo", "test", "test-fast", "lint", "format", "bench", "ui", "clean"} <= set(
        phony[1].split()
    )


def test_nothing_tracked_names_this_machine_or_a_registry() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for what, pattern in PLACES.items():
            found += [
                f"{path.relative_to(ROOT)}: {what}: {hit[0]}"
                for hit in pattern.finditer(text)
                if path != Path(__file__)
            ]
    assert found == []


def test_there_is_no_junk_drawer() -> None:
    names = {part for path in tracked() for part in path.relative_to(ROOT).parts}
    assert [name for name in names if JUNK_DRAWERS.match(name)] == []


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name, maxsplit=1)[0]).lower()


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {_normal(line): line for line in lines if line and not line.startswith("#")}


def test_constraints_pin_everything_that_the_project_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        _normal(n)
        for group in [project["dependencies"], *project["optional-dependencies"].values()]
        for n in group
    }
    assert named - {_normal(project["name"])} - _pins().keys() == set()
    assert "uv" in _pins(), "the bootstrap installs the uv that is pinned"


def _imported() -> set[str]:
    """The top of every name that a module of the package imports, wherever it does."""
    found = set()
    for path in (ROOT / "backup_pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"backup_pipeline"}


def test_everything_that_is_imported_is_declared() -> None:
    """What only comes with another package goes when that one does without it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        _normal(one) for one in (*project["dependencies"], *project["optional-dependencies"]["embedded"])
    }
    #: Part of the interface of another one that is declared; "": typing only, or imported where a user has it.
    parts = {
        "botocore": "boto3",
        "urllib3": "boto3",
        "dagster_shared": "dagster",
        "pydantic_core": "pydantic",
        "requests": "dropbox",
        "stone": "dropbox",
        "_typeshed": "",
        "alembic": "",
        "django": "",
    }
    given = packages_distributions()
    missing = {
        name: given.get(name, [])
        for name in _imported()
        if parts.get(name, "-")
        and not {_normal(one) for one in (*given.get(name, []), parts.get(name, ""))} & named
    }
    assert missing == {}


def test_dagster_has_an_upper_bound_because_its_private_classes_are_subclassed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounded = {_normal(one): one for one in project["dependencies"] if one.startswith("dagster")}
    assert len(bounded) == 5
    for name, requirement in bounded.items():
        major, minor = _pins()[name].partition("==")[2].split(".")[:2]
        assert requirement.endswith(f",<{major}.{int(minor) + 1}"), requirement


def test_constraints_are_exact_versions_and_nothing_else() -> None:
    assert [
        line for line in _pins().values() if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)
    ] == []
    assert "torch" not in _pins()


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" in project["dynamic"]
    assert "version" not in project


def test_the_changelog_has_a_place_for_the_next_line() -> None:
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("workers", [1, 3, 4])
@pytest.mark.parametrize("slow", [0, 2, 7])
def test_each_worker_begins_with_its_part_of_the_slow_tests(slow: int, workers: int) -> None:
    for quick in (0, 5, 100):
        dealt = deal(list(range(slow)), list(range(slow, slow + quick)), workers)
        assert sorted(dealt) == list(range(slow + quick))
        begin = 0
        for share in shares(len(dealt), workers):
            hand = [test for test in dealt[begin : begin + share] if test < slow]
            assert hand == dealt[begin : begin + len(hand)] == sorted(hand)
            assert slow // workers <= len(hand) <= slow // workers + 1
            begin += share
