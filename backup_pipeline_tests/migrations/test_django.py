"""Django projects made by Django's own commands; `showmigrations --plan` is the oracle."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.databases.engines import open_source
from backup_pipeline.errors import ConfigError
from backup_pipeline.migrations import migration_state
from backup_pipeline.model.manifest import Migrations

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "shop", "core.billing"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {name!r}}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
"""
MODELS = "from django.db import models\n\nclass {name}(models.Model):\n    title = models.CharField(max_length=9)\n"


class Site:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = root.parent / "app.sqlite3"
        for app in (root / "shop", root / "core" / "billing"):
            (app / "migrations").mkdir(parents=True)
            (app / "__init__.py").touch()
            (app / "migrations" / "__init__.py").touch()
        (root / "core" / "__init__.py").touch()
        # The label of an app need not be the name of its folder.
        (root / "core" / "billing" / "apps.py").write_text(
            "from django.apps import AppConfig\n\nclass Config(AppConfig):\n"
            "    name = 'core.billing'\n    label = 'invoices'\n"
        )
        (root / "settings.py").write_text(SETTINGS.format(name=str(self.database)))
        (root / "shop" / "models.py").write_text(MODELS.format(name="Item"))
        (root / "core" / "billing" / "models.py").write_text(MODELS.format(name="Invoice"))
        self.run("makemigrations", "--verbosity", "0")

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "django",
                *arguments,
                "--settings",
                "settings",
                "--pythonpath",
                str(self.root),
            ],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONDONTWRITEBYTECODE": "1", "PATH": ""},
        )
        return done.stdout

    def add(self, app: str, name: str, *lines: str) -> None:
        body = "\n".join(f"    {line}" for line in lines)
        file = self.root / app / "migrations" / f"{name}.py"
        file.write_text(
            f"from django.db import migrations\n\nclass Migration(migrations.Migration):\n{body}\n"
        )

    def plan(self) -> list[str]:
        """What is pending below the project, in Django's order."""
        lines = re.findall(r"^\[( |X)\]\s+(\S+)", self.run("showmigrations", "--plan"), re.MULTILINE)
        return [name for mark, name in lines if mark == " " and name.split(".")[0] in ("shop", "invoices")]

    def pending(self) -> tuple[str, ...]:
        applied = open_source(f"sqlite:///{self.database}").applied_migrations("django")
        return migration_state("django", self.root, applied).pending


def new_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (x)")


@pytest.fixture
def project(tmp_path: Path) -> Site:
    return Site(tmp_path / "project")


SHOP_2 = ("dependencies = [('shop', '0001_initial'), ('auth', '0001_initial')]",)
SHOP_3 = (
    "dependencies = [('shop', '0002_more'), migrations.swappable_dependency('auth.User')]",
    "run_before = [('invoices', '0002_late')]",
)
LATE = ("dependencies = [('invoices', '0001_initial'), ('shop', '__first__')]",)
SQUASH = (
    "replaces = [('shop', '0001_initial'), ('shop', '0002_more')]",
    "dependencies = [('auth', '0001_initial')]",
)


@pytest.mark.slow
def test_every_state_of_a_project_agrees_with_django(project: Site) -> None:
    """One test of many states: each costs a few starts of Django."""
    new_database(project.database)
    assert set(project.pending()) == set(project.plan()) == {"shop.0001_initial", "invoices.0001_initial"}
    project.run("migrate", "--verbosity", "0")
    assert project.pending() == ()

    project.add("shop", "0002_more", *SHOP_2)
    project.add("shop", "0003_swap", *SHOP_3)
    project.add("core/billing", "0002_late", *LATE)
    assert list(project.pending()) == ["shop.0002_more", "shop.0003_swap", "invoices.0002_late"]
    assert set(project.pending()) == set(project.plan())

    # Half of what the squashed one replaces is applied: the rest is finished first.
    project.add("shop", "0001_squashed", *SQUASH)
    assert set(project.pending()) == set(project.plan())
    assert "shop.0002_more" in project.pending()
    assert "shop.0001_squashed" not in project.pending()

    # All of it is applied: the squashed one is, too, before Django has even noted it.
    project.run("migrate", "shop", "0002_more", "--verbosity", "0")
    assert list(project.pending()) == ["shop.0003_swap", "invoices.0002_late"]
    assert set(project.pending()) == set(project.plan())

    # The replaced files are deleted, as Django's documentation advises.
    for name in ("0001_initial", "0002_more"):
        (project.root / "shop" / "migrations" / f"{name}.py").unlink()
    assert set(project.pending()) == set(project.plan())
    project.database.unlink()
    new_database(project.database)
    assert "shop.0001_squashed" in project.pending()
    assert set(project.pending()) == set(project.plan())


def test_an_app_or_a_folder_of_migrations_is_a_path_as_well(project: Site) -> None:
    everything = migration_state("django", project.root, None)
    assert everything.pending == ("invoices.0001_initial", "shop.0001_initial")
    assert everything.heads == ("invoices.0001_initial", "shop.0001_initial")
    app = migration_state("django", project.root / "core" / "billing", None)
    assert app.pending == ("invoices.0001_initial",)
    assert migration_state("django", project.root / "shop" / "migrations", None).pending == (
        "shop.0001_initial",
    )


def test_several_heads_and_merges_are_seen(project: Site) -> None:
    project.add("shop", "0002_left", "dependencies = [('shop', '0001_initial')]")
    project.add("shop", "0002_right", "dependencies = [('shop', '0001_initial')]")
    assert migration_state("django", project.root / "shop", None).heads == (
        "shop.0002_left",
        "shop.0002_right",
    )
    project.add("shop", "0003_merge", "dependencies = [('shop', '0002_left'), ('shop', '0002_right')]")
    assert migration_state("django", project.root / "shop", None).heads == ("shop.0003_merge",)


def test_installed_packages_and_foreign_folders_are_not_the_projects(project: Site) -> None:
    for foreign in ("node_modules/x", ".venv/lib/site-packages/auth", "venv/app", "py/app"):
        folder = project.root / foreign / "migrations"
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "0001_initial.py").write_text("class Migration: pass\n")
    (project.root / "py" / "pyvenv.cfg").touch()
    assert migration_state("django", project.root, None).pending == (
        "invoices.0001_initial",
        "shop.0001_initial",
    )


def test_no_file_of_the_application_is_run(project: Site, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    for file in project.root.rglob("*.py"):
        file.write_text(f"{file.read_text()}\nopen({str(trap)!r}, 'w').close()\nraise RuntimeError\n")
    assert len(migration_state("django", project.root, None).pending) == 2
    assert not trap.exists()


def test_two_apps_of_one_name_are_refused(project: Site) -> None:
    (project.root / "copy" / "shop" / "migrations").mkdir(parents=True)
    (project.root / "copy" / "shop" / "migrations" / "__init__.py").touch()
    with pytest.raises(ConfigError, match="two apps are called 'shop'"):
        migration_state("django", project.root, None)


def test_a_circle_is_an_error(project: Site) -> None:
    project.add("shop", "0002_a", "dependencies = [('shop', '0003_b')]")
    project.add("shop", "0003_b", "dependencies = [('shop', '0002_a')]")
    with pytest.raises(ConfigError, match="circle"):
        migration_state("django", project.root, None)


def test_a_database_ahead_of_the_folder_is_unknown(tmp_path: Path) -> None:
    folder = tmp_path / "shop" / "migrations"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    for name in ("0001_squashed_0003", "0004_more"):
        (folder / f"{name}.py").write_text("class Migration:\n    dependencies = []\n")

    def state(*applied: str) -> Migrations:
        return migration_state("django", tmp_path, applied)

    own = ("contenttypes.0001_initial", "auth.0001_initial")
    squashed = ("shop.0001_initial", "shop.0002_a", "shop.0003_b", "shop.0001_squashed_0003")
    # What a squash left in the table for ever, and Django's own apps, are no news.
    assert state(*own, *squashed, "shop.0004_more").known
    assert state(*own, *squashed).pending == ("shop.0004_more",)
    assert state(*own).pending == ("shop.0001_squashed_0003", "shop.0004_more")
    ahead = state(*own, *squashed, "shop.0004_more", "shop.0005_new")
    assert (ahead.known, ahead.pending) == (False, ())
    assert ahead.unknown == "the database says shop.0005_new, which the folder does not know"
    # The folder of another project.
    assert not state(*own, "blog.0001_initial").known
