"""Alembic folders made by Alembic itself, and its own answers as the oracle."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from backup_pipeline.errors import ConfigError
from backup_pipeline.migrations import migration_state


class Site:
    """A project with a migrations folder, made with Alembic's commands."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        self.config = Config(str(root / "alembic.ini"), stdout=io.StringIO())
        command.init(self.config, str(root / "migrations"))
        self.config.set_main_option("script_location", str(root / "migrations"))

    def add(self, name: str, head: str | None = None, **more: object) -> str:
        made = command.revision(
            self.config, message=name, rev_id=name, head=head or "head", splice=head is not None, **more
        )  # type: ignore[arg-type]
        return str(made.revision)  # type: ignore[union-attr]

    @property
    def script(self) -> ScriptDirectory:
        return ScriptDirectory.from_config(self.config)

    def pending(self, applied: tuple[str, ...]) -> set[str]:
        """What `alembic upgrade heads` would run."""
        steps = self.script._upgrade_revs("heads", applied or None)  # type: ignore[arg-type]
        return {step.revision.revision for step in steps}


@pytest.fixture
def project(tmp_path: Path) -> Site:
    return Site(tmp_path / "app")


def test_a_line_of_revisions_is_pending_from_the_applied_one_on(project: Site) -> None:
    for name in ("a1", "b2", "c3"):
        project.add(name)
    state = migration_state("alembic", project.root, ("a1",))
    assert state.pending == ("b2", "c3")
    assert state.heads == ("c3",)
    assert migration_state("alembic", project.root, ("c3",)).pending == ()


def test_a_database_without_the_table_has_everything_pending(project: Site) -> None:
    project.add("a1")
    project.add("b2")
    assert migration_state("alembic", project.root, None).pending == ("a1", "b2")


@pytest.mark.parametrize(
    "applied",
    [(), ("root",), ("left",), ("right",), ("left", "right"), ("merged",), ("dep",)],
)
def test_branches_merges_and_depends_on_agree_with_alembic(project: Site, applied: tuple[str, ...]) -> None:
    project.add("root")
    project.add("left", head="root")
    project.add("right", head="root")
    command.merge(project.config, "heads", rev_id="merged", message="merge")
    project.add("after")
    # A line of its own, with a label, that needs something of the first.
    project.add("other", head="root", branch_label="reports", depends_on="left")
    project.add("dep", head="other", depends_on="right")
    state = migration_state("alembic", project.root, applied or None)
    assert set(state.pending) == project.pending(applied)
    assert state.heads == tuple(sorted(project.script.get_heads()))
    order = {name: at for at, name in enumerate(state.pending)}
    for revision in project.script.walk_revisions():
        for parent in revision._all_down_revisions:
            if parent in order and revision.revision in order:
                assert order[parent] < order[revision.revision]


def test_depends_on_may_name_a_label(project: Site) -> None:
    project.add("root")
    project.add("one", head="root", branch_label="users")
    project.add("two", head="root", depends_on="users")
    assert (
        set(migration_state("alembic", project.root, ("two",)).pending) == project.pending(("two",)) == set()
    )


@pytest.mark.parametrize("below", ["", "migrations", "migrations/versions"])
def test_the_path_may_be_the_project_its_folder_or_the_versions(project: Site, below: str) -> None:
    project.add("a1")
    assert migration_state("alembic", project.root / below, None).pending == ("a1",)


def test_several_version_folders_are_read(tmp_path: Path) -> None:
    project = Site(tmp_path / "app")
    project.add("a1")
    extra = project.root / "plugin" / "versions"
    extra.mkdir(parents=True)
    (extra / "p1_plugin.py").write_text("revision: str = 'p1'\ndown_revision: str | None = None\n")
    ini = project.root / "alembic.ini"
    ini.write_text(
        ini.read_text()
        .replace(
            "[alembic]",
            "[alembic]\nversion_locations = %(here)s/migrations/versions %(here)s/plugin/versions",
            1,
        )
        .replace("path_separator = os", "path_separator = space")
    )
    state = migration_state("alembic", project.root, ("a1",))
    assert state.pending == ("p1",)
    assert state.heads == ("a1", "p1")


def test_the_settings_may_be_in_pyproject(project: Site) -> None:
    project.add("a1")
    (project.root / "alembic.ini").unlink()
    (project.root / "migrations").rename(project.root / "db")
    (project.root / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "%(here)s/db"\n')
    assert migration_state("alembic", project.root, None).pending == ("a1",)


def test_no_file_of_the_application_is_run(project: Site, tmp_path: Path) -> None:
    project.add("a1")
    trap = tmp_path / "sprung"
    spring = f"\nopen({str(trap)!r}, 'w').close()\nraise RuntimeError\n"
    for file in (project.root / "migrations").rglob("*.py"):
        file.write_text(file.read_text() + spring)
    assert migration_state("alembic", project.root, None).pending == ("a1",)
    assert not trap.exists()


def test_an_older_checkout_than_the_database_claims_nothing_pending(project: Site) -> None:
    project.add("a1")
    project.add("b2")
    state = migration_state("alembic", project.root, ("from_the_future",))
    assert state.pending == ()
    assert not state.known
    assert state.unknown == "the database says from_the_future, which the folder does not know"
    assert "none pending" not in state.told()
    # As backups of earlier versions have it.
    assert not replace(state, unknown="").known
    assert migration_state("alembic", project.root, ("b2",)).known


def test_a_missing_parent_is_an_error_that_names_the_file(project: Site) -> None:
    project.add("a1")
    project.add("b2")
    next((project.root / "migrations" / "versions").glob("a1*")).unlink()
    with pytest.raises(ConfigError, match=r"b2.*continues a1"):
        migration_state("alembic", project.root, None)


def test_a_file_that_is_not_python_is_an_error_that_names_it(project: Site) -> None:
    (project.root / "migrations" / "versions" / "bad.py").write_text("revision = (")
    with pytest.raises(ConfigError, match=r"bad\.py"):
        migration_state("alembic", project.root, None)


@pytest.mark.parametrize("tool", ["alembic", "django", "prisma"])
def test_a_folder_without_migrations_is_an_error_with_a_remedy(tmp_path: Path, tool: str) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match="there is no") as caught:
            migration_state(tool, path, None)
        assert "migrations: path:" in caught.value.remedy
