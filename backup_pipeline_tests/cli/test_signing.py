"""The first day of signatures: what was made before the key is no alarm."""

from __future__ import annotations

import re

from backup_pipeline_tests.attacks.test_store_writer import backups, status
from backup_pipeline_tests.attacks.test_store_writer_signed import configure, sign, sign_lines, signatures
from backup_pipeline_tests.cli.conftest import Folder


def test_backups_from_before_the_key_are_no_alarm_on_the_day_it_is_made(shop: Folder) -> None:
    """keygen printed the day: this morning's backup was an error of `status` for as long as it was there."""
    (morning,) = backups(shop, "morning")
    sign(shop)
    (noon,) = backups(shop, "noon")
    assert signatures(shop) == {morning: "unsigned", noon: "signed"}
    assert not status(shop) & {"unsigned", "signature-wrong"}
    lines = sign_lines(shop)
    configure(shop, re.sub(r"signed_since: .*", f"signed_since: {morning}", lines))
    (found,) = [
        finding
        for one in shop.run("status", "--json").document["data"]["systems"]
        for finding in one["findings"]
        if finding["code"] == "unsigned"
    ]
    for way in ("`signed_since:`", f"`forget shop {morning}`", "`ack shop unsigned`"):
        assert way in found["remedy"]
    for wrong in ("'2026-11-31'", "yesterday", "2026-11-30T08-15"):
        configure(shop, re.sub(r"signed_since: .*", f"signed_since: {wrong}", lines))
        ended = shop.run("status")
        assert (ended.code, "neither a day" in ended.stderr) == (2, True), str(ended)
