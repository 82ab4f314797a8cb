"""Rows of a backup go into a living database only where both have the same environment marker."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline import config
from backup_pipeline.databases.engines import open_source
from backup_pipeline.errors import ConfigError
from backup_pipeline.operations import Site
from backup_pipeline.operations.environment import marker_of_target, refusal
from backup_pipeline_tests.cli.conftest import Folder

SYSTEMS = """
vault: ./vault
systems:
  live:
    database: postgresql://app:secret@localhost/shop
    environment: production
  staging:
    database: postgresql://app@db2:6432/shop
    environment: staging
  blog:
    database: sqlite:///blog.db
    environment: production
  unmarked:
    database: postgresql://app@db3/shop
"""


def site(folder: Path, text: str = SYSTEMS) -> Site:
    (folder / "backup.yaml").write_text(text)
    return Site(config.load(folder / "backup.yaml", environ={}))


def test_the_marker_of_a_target_is_that_of_the_system_whose_database_it_is(tmp_path: Path) -> None:
    there = site(tmp_path)
    (tmp_path / "link.db").symlink_to(tmp_path / "blog.db")
    for url, marker in {
        "postgresql://another:login@127.0.0.1:5432/shop": "production",
        "postgres://LOCALHOST/shop?sslmode=require": "production",
        "postgresql://localhost/other": "",
        "postgresql://localhost:5433/shop": "",
        "postgresql+psycopg2://db2:6432/shop": "staging",
        "postgresql://db3/shop": "",
        f"sqlite:///{tmp_path}/blog.db": "production",
        f"sqlite:///{tmp_path}/link.db": "production",
        f"sqlite:///{tmp_path}/other.db": "",
    }.items():
        assert marker_of_target(there, "live", url, False) == marker, url
    assert marker_of_target(there, "staging", there.url("staging"), True) == "staging"
    assert marker_of_target(there, "unmarked", there.url("unmarked"), True) == ""


def test_a_target_that_may_be_that_of_a_marked_system_is_unknown(tmp_path: Path) -> None:
    there = site(tmp_path, SYSTEMS.replace("app@db2:6432/shop", "${env:NOT_SET}"))
    assert marker_of_target(there, "live", "postgresql://db9/shop", False) == "unknown"
    assert marker_of_target(there, "live", "postgresql://localhost/shop", False) == "production"


def test_equal_markers_are_let_through_and_others_are_refused() -> None:
    for backup, target, said in (
        ("production", "production", None),
        ("", "", None),
        ("production", "staging", "production"),
        ("production", "", "production"),
        ("", "production", "none"),
        ("", "unknown", "none"),
        ("production", "production", "production"),
    ):
        assert refusal(backup, target, said) is None, (backup, target, said)
    for backup, target, said, remedy in (
        ("production", "staging", None, "--from-environment production"),
        ("production", "", None, "--from-environment production"),
        ("", "production", None, "--from-environment none"),
        ("", "unknown", None, "--from-environment none"),
        ("production", "staging", "staging", "name that one"),
        ("production", "production", "staging", "name that one"),
        ("", "production", "production", "name that one"),
    ):
        found = refusal(backup, target, said)
        assert found is not None, (backup, target, said)
        assert (found.severity, found.code) == ("error", "environment-differs")
        assert remedy in found.remedy


@pytest.mark.parametrize("word", ["Production", "two words", "none", "unknown", "'1'", "''"])
def test_a_marker_is_a_plain_word(tmp_path: Path, word: str) -> None:
    with pytest.raises(ConfigError, match="environment"):
        site(tmp_path, SYSTEMS.replace("production", word))


def test_a_backup_keeps_the_marker_and_show_tells_it(shop: Folder) -> None:
    shop.good("backup", "shop", "--no-record")
    assert "environment" not in shop.good("show", "shop", "--raw").stdout
    text = (shop.path / "backup.yaml").read_text()
    (shop.path / "backup.yaml").write_text(text.replace("  shop:\n", "  shop:\n    environment: staging\n"))
    shop.good("backup", "shop", "--no-record")
    assert "environment    staging" in shop.good("show", "shop").stdout
    assert shop.good("show", "shop", "--json").data["manifest"]["environment"] == "staging"


def test_a_location_has_no_login() -> None:
    assert open_source("postgresql://app:secret@h/shop").location == "h:5432/shop"
