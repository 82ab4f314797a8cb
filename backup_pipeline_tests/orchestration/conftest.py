"""A small shop in SQLite, its project, and a Dagster instance in memory: what most tests here start from."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from backup_pipeline.backups import making
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.operations import Site
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault

SHOP = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), total REAL);
CREATE TABLE "order items" (order_id INTEGER REFERENCES orders (id), what TEXT);
CREATE TABLE empty (x);
INSERT INTO customers VALUES (1, 'Ada'), (2, 'Grace');
INSERT INTO orders VALUES (10, 1, 9.5), (11, 2, 1.25), (12, 1, 3.0);
INSERT INTO "order items" VALUES (10, 'tea'), (10, 'cup'), (11, 'tea');
"""


class Impatient(Site):
    """A source that does not answer is not asked again."""

    pauses = ()


@dataclass
class Shop:
    """A system called `shop`, and the ways in which its database changes."""

    folder: Path
    settings: str = ""
    top: str = ""
    _project: Site | None = field(default=None, repr=False)

    @property
    def database(self) -> Path:
        return self.folder / "shop.sqlite3"

    @property
    def config(self) -> Path:
        return self.folder / "backup.yaml"

    def configure(self, settings: str = "", top: str = "") -> Site:
        lines = "".join(f"    {line}\n" for line in settings.splitlines())
        self.config.write_text(
            f"vault: ./vault\n{top}\nsystems:\n  shop:\n    database: sqlite:///shop.sqlite3\n{lines}"
        )
        self._project = Site.load(self.config)
        return self._project

    @property
    def site(self) -> Site:
        return self._project or self.configure()

    def sql(self, script: str) -> None:
        with closing(sqlite3.connect(self.database)) as connection:
            connection.executescript(script)

    def job(self, name: str = "backup_shop") -> dg.JobDefinition:
        return build_defs(self.site).resolve_job_def(name)

    def run(
        self,
        instance: dg.DagsterInstance,
        *,
        job: str = "backup_shop",
        select: Sequence[str] | None = None,
        config: dict[str, object] | None = None,
        tags: dict[str, str] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """As the daemon would: definitions from the inventory as it is now, failures recorded, not raised."""
        return self.job(job).execute_in_process(
            instance=instance,
            asset_selection=None if select is None else [dg.AssetKey.from_user_string(k) for k in select],
            run_config={"ops": {"shop__read": {"config": config}}} if config else None,
            tags=tags,
            raise_on_error=False,
        )


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.sql(SHOP)
    made.configure()
    made.site.inventory("shop")
    return made


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def damaging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the commit and the checks, an object of the vault is lost."""
    commit = making.commit

    def damaged(vault: Vault, *args: Any, **kwargs: Any) -> Manifest:
        made = commit(vault, *args, **kwargs)
        vault.store.delete(layout.object_key(made.objects()[-1]))
        return made

    monkeypatch.setattr(making, "commit", damaged)


Failure = Callable[[dg.ExecuteInProcessResult], str]


@pytest.fixture
def said() -> Failure:
    """What the first failed step of a run said, remedy included."""

    def of(result: dg.ExecuteInProcessResult) -> str:
        for event in result.all_events:
            if event.is_step_failure:
                failure = event.step_failure_data.user_failure_data
                assert failure is not None, event.step_failure_data.error_display_string
                remedy = failure.metadata.get("remedy")
                return f"{failure.description}\n→ {remedy.value if remedy else ''}"
        return ""

    return of
