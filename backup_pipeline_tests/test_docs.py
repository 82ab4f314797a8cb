"""Documentation that cannot drift: what the code offers stands in docs/, and what docs/ pastes is what the code says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

import backup_pipeline
from backup_pipeline import errors
from backup_pipeline.cli.app import EXIT_CODES, VERBS, app
from backup_pipeline.config import (
    EncryptionSettings,
    FilesSettings,
    LifecycleSettings,
    MergeDerived,
    MergePolymorphic,
    MergeReference,
    MergeSettings,
    MergeTable,
    MergeValue,
    MigrationSettings,
    PrunerSettings,
    ReferenceSettings,
    RetentionSettings,
    ScrubSettings,
    Settings,
    StoreSettings,
    SystemSettings,
)
from backup_pipeline.config.strict import Strict
from backup_pipeline.errors import BackupError
from backup_pipeline_tests.harness import paste_findings, paste_help

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "backup_pipeline"
DOCS = ROOT / "docs"


@cache
def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(name: str) -> dict[str, list[str]]:
    """The first word of each table row → its cells."""
    found = {}
    for line in page(name).splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            found[cells[0].strip("` ")] = cells
    return found


def every(kind: type[BackupError]) -> Iterator[type[BackupError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from every(child)


# ── commands


def test_the_help_in_the_docs_is_the_help() -> None:
    again = "run: make docs"
    assert paste_help.pasted(page("COMMANDS.md")) == page("COMMANDS.md"), again


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_and_option_is_documented(verb: str) -> None:
    assert f"\n## {verb}\n" in page("COMMANDS.md")
    assert verb in paste_help.places(page("COMMANDS.md"))
    command = app.get_command(click.Context(app), verb)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.show_default, f"{verb} {parameter.opts} has no help"
            assert parameter.opts[-1] in page("COMMANDS.md")


def test_the_python_api_is_documented() -> None:
    text = page("COMMANDS.md").partition("## From Python")[2]
    missing = [
        n for n in backup_pipeline.__all__ if n not in ("__version__", "Site") and f"bp.{n}" not in text
    ]
    assert missing == []


# ── settings


SECTIONS: dict[type[BaseModel], str] = {
    Settings: "## Settings of the file",
    SystemSettings: "## Settings of a system",
    FilesSettings: "### files",
    ReferenceSettings: "### refs",
    MigrationSettings: "### migrations",
    MergeSettings: "### merge",
    MergeTable: "### merge: tables",
    MergeReference: "### merge: references",
    MergePolymorphic: "### merge: polymorphic",
    MergeValue: "### merge: values",
    MergeDerived: "### merge: derived",
    StoreSettings: "## Stores",
    LifecycleSettings: "### lifecycle",
    PrunerSettings: "### pruner",
    EncryptionSettings: "## Encryption",
    RetentionSettings: "## Retention",
    ScrubSettings: "## Scrub",
}


def test_every_part_of_the_settings_has_its_section() -> None:
    assert set(Strict.__subclasses__()) == set(SECTIONS)


@pytest.mark.parametrize("model", SECTIONS)
def test_every_setting_is_documented_with_its_default(model: type[BaseModel]) -> None:
    section = page("CONFIGURATION.md").partition(f"\n{SECTIONS[model]}\n")[2]
    section = section.partition("\n## ")[0].partition("\n### ")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE))
    fields = {field.alias or name: field for name, field in model.model_fields.items() if not field.exclude}
    assert documented.keys() == fields.keys()
    for name, field in fields.items():
        assert (documented[name] == "required") is field.is_required(), name
        plain = field.default
        if isinstance(plain, str | Path) and plain:
            assert documented[name] == f"`{plain}`", name
        if type(plain) is int and plain < 1000:
            assert documented[name] == f"`{plain}`", name
        if name == "chunk_size":
            assert documented[name] == f"`{plain // 2**20}MiB`"


def test_the_examples_in_the_configuration_page_load() -> None:
    from backup_pipeline.config import parse
    from backup_pipeline.vault import crypto

    blocks = re.findall(r"```yaml\n(.*?)```", page("CONFIGURATION.md"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        # A key that a user could copy by mistake would lock the user's backups for ever: those on the page are no keys.
        block = re.sub(r"age1\w{58}", lambda _: crypto.generate()[1], block)
        settings = parse(block, name="docs", base=Path("/srv"), environ={})
        assert "shop" in settings.systems


# ── errors and findings


@pytest.mark.parametrize("kind", list(every(BackupError)))
def test_every_error_is_documented_with_its_codes(kind: type[BackupError]) -> None:
    cells = rows("ERRORS.md")[kind.code]
    assert cells[1] == str(kind.exit_code)
    assert cells[2] == f"`{kind.__name__}`"
    assert cells[3]


def test_no_two_errors_share_a_code_and_each_is_in_the_tree() -> None:
    kinds = list(every(BackupError))
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert errors.__doc__ is not None
    assert [kind.__name__ for kind in kinds if kind.__name__ not in errors.__doc__] == []


def test_no_exit_code_is_documented_that_nothing_gives() -> None:
    known = {kind.exit_code for kind in every(BackupError)} | {0}
    assert set(EXIT_CODES) <= known


def test_the_page_of_findings_is_made_from_the_register() -> None:
    assert paste_findings.PAGE.read_text(encoding="utf-8") == paste_findings.page(), "run: make docs"


# ── Dagster


@pytest.fixture(scope="module")
def graph_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What the UI shows of a system that has everything: assets, checks, jobs, schedules, sensors."""
    from backup_pipeline.definitions import build_defs

    folder = tmp_path_factory.mktemp("docs")
    (folder / "backup.yaml").write_text(
        'retention: {daily: 30, schedule: "0 5 * * *"}\nscrub: {schedule: "0 6 1 * *"}\n'
        'vault: v\nalerts: ["json://localhost"]\nsystems:\n  zzz:\n    database: sqlite:///x.db\n'
        '    schedule: "0 2 * * *"\n    drill_schedule: "0 4 * * 0"\n    migrations: {tool: alembic, path: m}\n'
    )
    defs = build_defs(backup_pipeline.load(folder / "backup.yaml"))
    repository = defs.get_repository_def()
    names = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()}
    names |= {key.name for key in repository.asset_graph.asset_check_keys}
    names |= {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}
    names |= {schedule.name for schedule in repository.schedule_defs}
    names |= {sensor.name for sensor in repository.sensor_defs}
    return {name.replace("zzz", "<system>") for name in names}


def test_every_asset_check_job_schedule_and_sensor_is_documented(graph_names: set[str]) -> None:
    assert len(graph_names) > 12
    text = page("DAGSTER.md")
    assert sorted(name for name in graph_names if f"`{name}`" not in text) == []


# ── links


@pytest.mark.parametrize(
    "path", sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")]), ids=lambda path: path.name
)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        other = path if not name else path.parent / name
        assert other.exists(), f"{path.name} → {target}"
        if anchor and other.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {
                re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
            }
            assert anchor in anchors, f"{path.name} → {target}"


# ── threats


def test_the_test_that_is_named_beside_a_threat_is_there() -> None:
    shown = re.findall(r"`(?:(\w+)/)?(test_\w+\.py)(?:::(test_\w+)…?)?`", page("THREATS.md"))
    assert shown
    for folder, file, test in shown:
        path = ROOT / "backup_pipeline_tests" / (folder or "attacks") / file
        assert path.exists(), f"{path}: THREATS.md names it"
        assert f"def {test}" in path.read_text(encoding="utf-8"), f"{path}: has no {test}…"


def test_every_attack_is_in_the_threat_model() -> None:
    for path in sorted((ROOT / "backup_pipeline_tests" / "attacks").glob("test_*.py")):
        for test in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            known = re.findall(rf"`{path.name}::(test_\w+)…?`", page("THREATS.md"))
            assert any(test.startswith(name) for name in known), (
                f"{path.name}::{test} has no row in THREATS.md"
            )
