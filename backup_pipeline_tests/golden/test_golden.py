"""What earlier versions stored is read, verified and restored by this one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from backup_pipeline.config import parse
from backup_pipeline.files.restore.files_plan import FilesOrder
from backup_pipeline.model.orders import DrillOrder, VerifyOrder
from backup_pipeline.operations import Site, files
from backup_pipeline.operations.drill import drill
from backup_pipeline.operations.listing import list_backups
from backup_pipeline.operations.reading import show
from backup_pipeline.operations.restore_records import list_restores, remembered
from backup_pipeline.operations.verify import verify
from backup_pipeline.vault import crypto
from backup_pipeline_tests.golden.make import HERE, KEY, expected, listed, touched

VAULTS = sorted(path for path in HERE.iterdir() if (path / "vault").is_dir())


@pytest.fixture(params=VAULTS, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Site]:
    """A copy: looking at a backup is remembered beside it, and these are never written again."""
    source: Path = request.param
    shutil.copytree(source / "vault", tmp_path / "vault")
    text = "vault: ./vault\nsystems:\n  shop:\n    database: postgresql:///gone\n  app:\n    database: sqlite:///gone.db\n"
    if (source / KEY).exists():
        [public] = crypto.public_keys((source / KEY).read_text())
        text += f"encryption: {{recipients: [{public}], identity: '${{file:{source / KEY}}}'}}\n"
    return source, Site(parse(text, name="golden", base=tmp_path, environ={}))


def test_there_is_a_golden_vault_of_every_format() -> None:
    from backup_pipeline.model.manifest import FORMAT

    assert {path.name for path in VAULTS} >= {f"format-{number}" for number in range(1, FORMAT + 1)}


@pytest.mark.parametrize("system", ["shop", "app"])
def test_every_value_is_read_as_it_was(golden: tuple[Path, Site], system: str) -> None:
    source, site = golden
    was = json.loads((source / f"{system}.json").read_text(encoding="utf-8"))
    assert len(was) == (3 if source.name.endswith("restores") else 2)
    assert expected(site, system) == was


@pytest.mark.parametrize("system", ["shop", "app"])
def test_it_verifies_and_is_still_proven(golden: tuple[Path, Site], system: str) -> None:
    _, site = golden
    assert verify(site, VerifyOrder(system, "all")).findings == ()
    full = [one for one in list_backups(site, system) if one.scope == "full"]
    assert full[-1].proven_at is not None


@pytest.mark.parametrize("system", ["shop", "app"])
def test_every_file_is_there_as_it_was_and_comes_back(
    golden: tuple[Path, Site], system: str, tmp_path: Path
) -> None:
    source, site = golden
    if not (source / f"{system}.files.json").exists():
        assert show(site, system).files == (), "a vault from before there were file trees"
        return
    assert listed(site, system) == json.loads((source / f"{system}.files.json").read_text())
    done = files.restore_files(site, system, None, tmp_path / "back", FilesOrder(trees=("media",)))
    assert done.ok
    assert (tmp_path / "back" / "deep" / "er" / "same.txt").read_text() == "a line\n" * 1000
    assert (tmp_path / "back" / "big.sqlite3").read_bytes().endswith(b"sparse but for this")


@pytest.mark.parametrize("system", ["shop", "app"])
def test_every_restore_is_remembered_as_it_was(golden: tuple[Path, Site], system: str) -> None:
    source, site = golden
    found = list_restores(site, system)
    if not (source / f"{system}.restores.json").exists():
        assert found == (), "a vault from before there were restores"
        return
    assert touched(site, system) == json.loads((source / f"{system}.restores.json").read_text("utf-8"))
    assert [(one.state, one.damaged) for one in found] == [("done", "")] * 2
    assert found[0].undone_by == found[1].id
    for one in found:
        assert remembered(site, system, one.id).record.pre_restore in site.vault.ids(system)


@pytest.mark.server
@pytest.mark.parametrize("system", ["shop", "app"])
def test_it_restores(golden: tuple[Path, Site], system: str) -> None:
    _, site = golden
    report = drill(site, DrillOrder(system)).report
    assert report.errors == ()
    assert report.counted["rows"] > 0
