"""Whole merges on PostgreSQL: what a plan tells before, and what a login needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.databases.merge.asked import Asked
from backup_pipeline.databases.merge.rules import Rules
from backup_pipeline.databases.postgres.merging import foreign_keys
from backup_pipeline.errors import RestoreError
from backup_pipeline.model.schema import TableId
from backup_pipeline.restores.merging import merge_into, plan_merge
from backup_pipeline_tests.harness.backups import Backed, ask, backed_up, run_sql
from backup_pipeline_tests.harness.merging_postgres import as_role, role

__all__ = ["role"]

ITEMS = TableId("public", "items")
_SHOP = """
CREATE TABLE products (id int PRIMARY KEY, sku text UNIQUE NOT NULL);
CREATE TABLE items (id serial PRIMARY KEY, product int NOT NULL REFERENCES products, note text);
CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.note := 'spoilt'; RETURN NEW; END$$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION spoil();
ALTER TABLE items DISABLE TRIGGER touch;
INSERT INTO products SELECT i, 'p' || i FROM generate_series(1, 10) i;
INSERT INTO items (product, note) SELECT 1 + i % 10, 'n' || i FROM generate_series(1, 100) i;
ALTER TABLE items ENABLE TRIGGER touch;
"""


@pytest.fixture
def shop(pg_major_database: str, tmp_path: Path) -> Backed:
    """A shop whose items were deleted after the backup."""
    run_sql(pg_major_database, _SHOP)
    backed = backed_up(pg_major_database, tmp_path / "vault")
    run_sql(pg_major_database, "DELETE FROM items WHERE id > 40")
    return backed


def test_a_plan_tells_triggers_sequences_and_locks_and_is_the_plan_of_the_merge(
    shop: Backed, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ask(shop.url, "SELECT last_value, is_called FROM items_id_seq")
    plan = plan_merge(shop.backup, shop.url, Asked(), Rules())
    (items,) = (one for one in plan.tables if one.table == ITEMS)
    assert (items.create, items.triggers, items.sequences) == (60, ("touch",), ("public.items_id_seq",))
    assert [one.triggers for one in plan.tables if one.table != ITEMS] == [()]
    assert plan.locks == ("public.items",)
    with monkeypatch.context() as patch:
        patch.setattr(foreign_keys, "MANY", 60)
        assert plan_merge(shop.backup, shop.url, Asked(), Rules()).locks == (
            "public.items (readers wait)",
            "public.products (readers wait)",
        )
    assert ask(shop.url, "SELECT last_value, is_called FROM items_id_seq") == before
    done = merge_into(shop.backup, shop.url, Asked(), Rules())
    assert done.plan.digest == plan.digest
    assert "triggers-off" in {finding.code for finding in done.findings}
    assert ask(shop.url, "SELECT count(*), count(*) FILTER (WHERE note = 'n' || id) FROM items") == [
        (100, 100)
    ]


def test_a_login_may_merge_into_a_table_whose_parents_it_only_reads(shop: Backed, role: str) -> None:
    url = as_role(shop.url, role)
    run_sql(shop.url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    (refused,) = plan_merge(shop.backup, url, Asked(), Rules()).refused
    assert refused.code == "merge-right-missing"
    with pytest.raises(RestoreError, match=r"public\.items: the login .* lacks INSERT, UPDATE"):
        merge_into(shop.backup, url, Asked(), Rules())
    run_sql(shop.url, refused.remedy)
    run_sql(shop.url, f"GRANT SELECT, UPDATE ON SEQUENCE items_id_seq TO {role}")
    assert plan_merge(shop.backup, url, Asked(), Rules()).refused == ()
    done = merge_into(shop.backup, url, Asked(), Rules())
    assert "triggers-stay" in {finding.code for finding in done.findings}
    assert ask(shop.url, "SELECT count(*), count(*) FILTER (WHERE note = 'spoilt') FROM items") == [(100, 60)]
