"""A table is excluded that others refer to: that was asked for, so no night is red because of it."""

from __future__ import annotations

from backup_pipeline_tests.cli.conftest import Folder


def test_an_excluded_table_that_others_refer_to_fails_no_drill(pg_shop: Folder) -> None:
    config = pg_shop.path / "backup.yaml"
    config.write_text(config.read_text().replace("exclude: [audit_log]", "exclude: [audit_log, customers]"))
    found = pg_shop.good("doctor", "shop", "--json").data["systems"]["shop"]["findings"]
    (named,) = [one for one in found if one["code"] == "reference-left-out"]
    assert "1 foreign key refers to public.customers" in named["message"]
    pg_shop.backup()
    for verb in ("verify", "drill"):
        ended = pg_shop.run(verb, "shop", "--json", *(["--no-record"] if verb == "drill" else []))
        assert ended.code == 0, str(ended)
    (kept,) = [one for one in ended.data["report"]["findings"] if one["code"] == "foreign-key-not-checked"]
    assert "exclude: customers" in kept["message"]
