"""Rows and files agree, or it is said which rows do not: the check `references`, on backups made by hand."""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.databases.sqlite.export import SqliteSource
from backup_pipeline.files.sources.bucket import BucketSource
from backup_pipeline.model.files import LISTING_SUFFIX, FileEntry, line_of
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileTree, Manifest
from backup_pipeline.model.outcome import CheckResult
from backup_pipeline.model.progress import silent
from backup_pipeline.model.schema import Schema
from backup_pipeline.references import file_references
from backup_pipeline.references.file_references import Memory
from backup_pipeline.services.aws import AwsAccess
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.handmade import back_up_by_hand, prepared, table


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def entry(path: str, content: str = "x") -> FileEntry:
    return FileEntry(path, size=len(content), sha256=sha(content))


def tree_of(vault: Vault, entries: Sequence[FileEntry], name: str = "media") -> FileTree:
    """A tree as far as this check looks at it: its listing."""
    lines = b"".join(line_of(one) for one in sorted(entries, key=lambda one: one.sort_key))
    listing = vault.writer.write_bytes(lines, LISTING_SUFFIX)
    size = sum(one.size for one in entries)
    return FileTree(name, "local", "/srv/media", listing, files=len(entries), bytes=size)


def settings(refs: Mapping[str, Any], **more: Any) -> dict[str, FilesSettings]:
    return {"media": FilesSettings.model_validate({"path": "/srv/media", "refs": refs, **more})}


def orders(*values: str) -> Any:
    """A table whose rows are (number, file, checksum, length), as tab-separated text."""
    text = "".join(f"{number}\t{value}\n" for number, value in enumerate(values, 1))
    return table(
        "orders", {"id": "integer", "file": "text", "checksum": "text", "length": "bigint"}, text.encode()
    )


def asked(
    vault: Vault, manifest: Manifest, trees: Mapping[str, FilesSettings], memory: Memory | None = None
) -> CheckResult:
    return file_references.check(vault.backup_of(manifest), trees, memory=memory, listener=silent)


def check(
    folder: Path, entries: Sequence[FileEntry], rows: Sequence[str], refs: Mapping[str, Any], **more: Any
) -> CheckResult:
    vault = prepared(folder / "vault")
    tree = tree_of(vault, entries)
    made = back_up_by_hand(vault, [orders(*rows)], files=[tree])
    return asked(vault, made, settings(refs, **more))


def codes(outcome: CheckResult) -> dict[str, str]:
    return {finding.code: finding.severity for finding in outcome.findings}


def only(outcome: CheckResult) -> Finding:
    (finding,) = outcome.findings
    return finding


NONE = "\\N\t\\N"


def test_rows_and_files_that_agree_give_no_finding(tmp_path: Path) -> None:
    rows = [f"a.pdf\t{sha('A')}\t1", f"ordner/b.pdf\t{NONE}", f"\\N\t{NONE}", f"\t{NONE}"]
    refs = {"orders.file": "path", "sha256": "orders.checksum", "size": "orders.length"}
    outcome = check(tmp_path, [entry("a.pdf", "A"), entry("ordner/b.pdf")], rows, refs)
    assert outcome.findings == ()
    assert outcome.counted["file_values"] == 2, "NULL and the empty text are no references"
    assert outcome.counted["dangling_files"] == outcome.counted["orphan_files"] == 0


def test_a_row_whose_file_is_not_there_is_an_error_that_names_the_row(tmp_path: Path) -> None:
    finding = only(
        check(tmp_path, [entry("a.pdf")], [f"a.pdf\t{NONE}", f"b.pdf\t{NONE}"], {"orders.file": "path"})
    )
    assert (finding.code, finding.severity, finding.table, finding.tree) == (
        "file-missing",
        "error",
        "public.orders",
        "media",
    )
    assert finding.examples == ("(id) = (2): b.pdf",)


def test_what_is_accepted_is_no_warning_until_there_is_more_of_it(tmp_path: Path) -> None:
    vault = prepared(tmp_path / "vault")
    refs = settings({"orders.file": {"kind": "path", "missing": "warning", "sha256": "orders.checksum"}})
    tree = tree_of(vault, [entry("a.pdf", "A"), entry("c.pdf", "C")])
    rows = [f"a.pdf\t{sha('A')}\t\\N", f"b.pdf\t{NONE}", f"c.pdf\t{sha('D')}\t\\N"]
    first = back_up_by_hand(vault, [orders(*rows)], 1, files=[tree])
    told = {"file-missing": "info", "file-content-differs": "info"}
    assert codes(asked(vault, first, refs)) == told, "the first that is known is what has always been so"
    rows += [f"x.pdf\t{NONE}"]
    second = back_up_by_hand(vault, [orders(*rows)], 2, files=[tree])
    outcome = asked(vault, second, refs)
    assert codes(outcome) == {**told, "more-files-missing": "warning"}
    more = next(one for one in outcome.findings if one.code == "more-files-missing")
    assert more.examples == ("(id) = (4): x.pdf",), "the new one, and not the one that was accepted"
    assert codes(asked(vault, back_up_by_hand(vault, [orders(*rows)], 3, files=[tree]), refs)) == told
    lost = tree_of(vault, [entry("c.pdf", "C")])
    outcome = asked(vault, back_up_by_hand(vault, [orders(*rows)], 4, files=[lost]), refs)
    more = next(one for one in outcome.findings if one.code == "more-files-missing")
    assert more.examples == ("(id) = (1): a.pdf",)
    assert outcome.counted["dangling_files"] == 3


def test_a_file_of_another_size_or_content_than_its_row_says_is_an_error(tmp_path: Path) -> None:
    rows = [
        f"a.pdf\t{sha('A').upper()}\t2",
        f"b.pdf\tsha256:{sha('C')}\t1",
        "c.pdf\td41d8cd98f00b204e9800998ecf8427e\t\\N",
    ]
    refs = {"orders.file": {"kind": "path", "sha256": "orders.checksum", "size": "orders.length"}}
    outcome = check(tmp_path, [entry("a.pdf", "A"), entry("b.pdf", "B"), entry("c.pdf")], rows, refs)
    assert codes(outcome) == {
        "file-size-differs": "error",
        "file-content-differs": "error",
        "reference-digest-unreadable": "warning",
    }
    found = {finding.code: finding.examples for finding in outcome.findings}
    assert found["file-size-differs"] == ("(id) = (1): a.pdf is 1, and the row says 2",)
    (example,) = found["file-content-differs"]
    assert example.startswith("(id) = (2): b.pdf is ")
    unreadable = next(one for one in outcome.findings if one.code == "reference-digest-unreadable")
    assert unreadable.remedy == "did you mean `md5:`?"


DIGESTS = {"md5": hashlib.md5, "sha1": hashlib.sha1, "sha256": hashlib.sha256}


@pytest.mark.parametrize("name", DIGESTS)
def test_a_row_may_say_its_file_by_every_digest_and_in_every_spelling(name: str, tmp_path: Path) -> None:
    right, wrong = DIGESTS[name](b"A").digest(), DIGESTS[name](b"B").digest()
    spelt = [right.hex(), right.hex().upper(), f"{name}:{right.hex()}", base64.b64encode(right).decode()]
    spelt += [base64.urlsafe_b64encode(right).decode().rstrip("="), f'"{right.hex()}"', f"\\\\x{right.hex()}"]
    entries = [
        replace(
            entry("a.pdf", "A"), digests={one: DIGESTS[one](b"A").hexdigest() for one in ("md5", "sha1")}
        ),
        entry("empty.pdf", ""),
    ]
    refs = {"orders.file": "path", name: "orders.checksum"}
    rows = [*(f"a.pdf\t{one}\t\\N" for one in spelt), f"empty.pdf\t{DIGESTS[name](b'').hexdigest()}\t\\N"]
    assert check(tmp_path / "right", entries, rows, refs).findings == ()
    for number, one in enumerate((wrong.hex(), base64.b64encode(wrong).decode())):
        finding = only(check(tmp_path / f"wrong{number}", entries, [rows[-1], f"a.pdf\t{one}\t\\N"], refs))
        assert (finding.code, finding.severity) == ("file-content-differs", "error")
        assert finding.examples[0].startswith("(id) = (2): a.pdf is ")


def test_a_digest_that_was_never_taken_of_a_file_is_said_to_be_not_compared(tmp_path: Path) -> None:
    refs = {"orders.file": "path", "sha1": "orders.checksum"}
    row = f"a.pdf\t{hashlib.sha1(b'B').hexdigest()}\t\\N"
    finding = only(check(tmp_path, [entry("a.pdf", "A")], [row], refs))
    assert (finding.code, finding.severity) == ("file-digest-unknown", "warning")


@pytest.mark.parametrize(
    ("value", "refs", "severity"),
    [
        (
            "https://cdn.example.com/media/a.pdf",
            {"kind": "url", "base": "https://cdn.exmaple.com/media/"},
            "error",
        ),
        ('[{"file": "a.pdf"}]', {"kind": "json", "field": "fiel"}, "error"),
        ("a.pdf", {"kind": "json"}, "error"),
        ("https://elsewhere.example.com/a.pdf", {"kind": "path"}, "warning"),
    ],
)
def test_a_column_of_which_no_value_names_a_file_checks_nothing_and_says_so(
    value: str, refs: dict[str, str], severity: str, tmp_path: Path
) -> None:
    outcome = check(tmp_path, [entry("a.pdf")], [f"{value}\t{NONE}"], {"orders.file": refs}, orphans="ignore")
    assert codes(outcome) == {"reference-checks-nothing": severity}


@pytest.mark.parametrize(
    ("name", "value"), [("sha256", "d41d8cd98f00b204e9800998ecf8427e"), ("size", "1 kB")]
)
def test_digests_of_which_none_can_be_read_check_nothing(name: str, value: str, tmp_path: Path) -> None:
    refs = {"orders.file": {"kind": "path", name: "orders.checksum"}}
    finding = only(check(tmp_path, [entry("a.pdf")], [f"a.pdf\t{value}\t\\N"], refs))
    assert (finding.code, finding.severity) == ("reference-digest-unreadable", "error")


def test_case_and_unicode_differences_are_told_apart_from_files_that_are_not_there(tmp_path: Path) -> None:
    files = [entry("Ordner/A.pdf"), entry("zoe\u0308.pdf"), entry("same.pdf")]
    rows = [f"ordner/a.PDF\t{NONE}", f"zo\u00eb.pdf\t{NONE}", f"gone.pdf\t{NONE}", f"same.pdf\t{NONE}"]
    outcome = check(tmp_path, files, rows, {"orders.file": "path"})
    assert codes(outcome) == {
        "file-missing": "error",
        "file-name-case": "warning",
        "file-name-unicode": "warning",
    }
    case = next(one for one in outcome.findings if one.code == "file-name-case")
    assert case.examples == ("(id) = (1): 'ordner/a.PDF' is 'Ordner/A.pdf'",)
    assert outcome.counted["orphan_files"] == 0, "a file that is named in another spelling is no orphan"


def test_files_that_no_row_names_are_counted_and_may_be_ignored(tmp_path: Path) -> None:
    files, rows = [entry("a.pdf"), entry("thumbs/a.png", "thumb")], [f"a.pdf\t{NONE}"]
    finding = only(outcome := check(tmp_path / "1", files, rows, {"orders.file": "path"}))
    assert (finding.code, finding.severity, finding.examples) == ("orphan-files", "info", ("thumbs/a.png",))
    assert (outcome.counted["orphan_files"], outcome.counted["orphan_bytes"]) == (1, 5)
    quiet = check(tmp_path / "2", files, rows, {"orders.file": "path"}, orphans="ignore")
    assert quiet.findings == ()
    assert quiet.counted["orphan_files"] == 1


def test_json_arrays_and_escapes_of_row_text_are_read(tmp_path: Path) -> None:
    value = (
        '[{"file": "a \\\\"b\\\\".pdf"}, {"file": "gone\\\\t.pdf"}]'  # as COPY writes the backslashes of JSON
    )
    refs = {"orders.file": {"kind": "json", "field": "file"}}
    outcome = check(tmp_path, [entry('a "b".pdf')], [f"{value}\t{NONE}", f"[1]\t{NONE}"], refs)
    assert codes(outcome) == {"file-missing": "error", "reference-unreadable": "warning"}
    assert outcome.counted["file_values"] == 2


def test_a_hard_link_is_what_the_file_is_whose_content_it_shares(tmp_path: Path) -> None:
    linked = FileEntry("b.pdf", type="hardlink", target="a.pdf")
    refs = {"orders.file": "path", "sha256": "orders.checksum"}
    rows = [f"b.pdf\t{sha('A')}\t1", f"a.pdf\t{sha('A')}\t1"]
    assert check(tmp_path, [entry("a.pdf", "A"), linked], rows, refs).findings == ()


def test_what_the_tree_leaves_out_on_purpose_is_not_missed(tmp_path: Path) -> None:
    rows = [f"a.pdf\t{NONE}", f"cache/a.png\t{NONE}"]
    finding = only(check(tmp_path, [entry("a.pdf")], rows, {"orders.file": "path"}, exclude=["cache/"]))
    assert (finding.code, finding.severity) == ("reference-left-out", "info")


def test_names_that_are_no_utf8_are_found(tmp_path: Path) -> None:
    vault = prepared(tmp_path / "vault")
    made = table("orders", {"id": "integer", "file": "text"}, b"1\ta\xff.pdf\n")
    manifest = back_up_by_hand(vault, [made], files=[tree_of(vault, [entry("a\udcff.pdf")])])
    assert asked(vault, manifest, settings({"orders.file": "path"})).findings == ()


def test_what_cannot_be_checked_is_said(tmp_path: Path) -> None:
    outcome = check(
        tmp_path, [entry("a")], [f"a\t{NONE}"], {"nothing.file": "path", "orders.nothing": "path"}
    )
    assert codes(outcome) == {"reference-without-table": "error", "reference-without-column": "error"}
    assert outcome.counted.get("orphan_files", 0) == 0, "without all columns an orphan is unknown"


def test_a_backup_that_is_older_than_the_column_is_no_error(tmp_path: Path) -> None:
    vault, refs = prepared(tmp_path / "vault"), settings({"orders.file": "path"})
    tree = tree_of(vault, [entry("a")])
    old = back_up_by_hand(vault, [table("orders", {"id": "integer"}, b"1\n")], 1, files=[tree])
    assert codes(asked(vault, old, refs)) == {"reference-without-column": "error"}, "while it is the newest"
    new = back_up_by_hand(vault, [orders(f"a\t{NONE}")], 2, files=[tree])
    memory = Memory()
    assert codes(asked(vault, old, refs, memory)) == {"reference-without-column": "warning"}
    assert codes(asked(vault, new, refs, memory)) == {}


def test_a_lost_file_is_traced_to_the_backup_that_still_has_it(tmp_path: Path) -> None:
    vault = prepared(tmp_path / "vault")
    rows = [orders(f"a.pdf\t{NONE}", f"b.pdf\t{NONE}")]
    back_up_by_hand(vault, rows, 1, files=[tree_of(vault, [entry("a.pdf"), entry("b.pdf")])])
    second = back_up_by_hand(vault, rows, 2, files=[tree_of(vault, [entry("a.pdf")])])
    finding = only(asked(vault, second, settings({"orders.file": "path"})))
    assert (
        "not in media; it was in the backup before (2026-11-01T02-00-00-000Z) and not in this one"
        in finding.message
    )
    assert "restore shop 2026-11-01T02-00-00-000Z --files media" in finding.remedy


def test_two_backups_of_the_same_content_are_joined_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = prepared(tmp_path / "vault")
    tree, rows = tree_of(vault, [entry("a.pdf")]), [orders(f"a.pdf\t{NONE}")]
    first = back_up_by_hand(vault, rows, 1, files=[tree])
    second = back_up_by_hand(vault, rows, 2, files=[tree])
    memory = Memory()
    asked(vault, first, settings({"orders.file": "path"}), memory)
    assert len(memory.known) == 1
    asked(vault, second, settings({"orders.file": "path"}), memory)
    assert len(memory.known) == 1


def test_the_rows_of_a_sqlite_backup_are_followed_as_well(tmp_path: Path) -> None:
    database = tmp_path / "shop.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, file TEXT, checksum BLOB)")
        rows = [("a.pdf", hashlib.sha256(b"A").digest()), ("b.pdf", None), ("", None), (None, None)]
        connection.executemany("INSERT INTO orders (file, checksum) VALUES (?, ?)", rows)
    vault = prepared(tmp_path / "vault")
    made = back_up(vault, SqliteSource(f"sqlite:///{database}"), Order("shop"))
    manifest = replace(made, files=(tree_of(vault, [entry("a.pdf", "A")]),))
    finding = only(asked(vault, manifest, settings({"orders.file": "path", "sha256": "orders.checksum"})))
    assert finding.examples == ("(id) = (2): b.pdf",)


def test_a_million_rows_are_joined_in_bounded_time(tmp_path: Path) -> None:
    """A hundred thousand here: what matters is that nothing is quadratic, and that the counts are exact."""
    count = 100_000
    vault = prepared(tmp_path / "vault")
    text = b"".join(b"%d\tf/%d.pdf\n" % (number, number) for number in range(count))
    made = table("orders", {"id": "integer", "file": "text"}, text)
    tree = tree_of(vault, [entry(f"f/{number}.pdf") for number in range(0, count, 2)])
    manifest = back_up_by_hand(vault, [made], files=[tree])
    assert isinstance(vault.backup_of(manifest).schema, Schema)
    outcome = asked(vault, manifest, settings({"orders.file": "path"}))
    assert outcome.counted["dangling_files"] == count // 2


@pytest.mark.parametrize("endpoint", [None, "https://account.r2.cloudflarestorage.com"])
def test_keys_of_a_bucket_are_found_with_its_prefix_on_every_server(
    tmp_path: Path, endpoint: str | None
) -> None:
    vault = prepared(tmp_path / "vault")
    source = BucketSource("s3://uploads/avatars at home", AwsAccess(endpoint=endpoint))
    tree = replace(tree_of(vault, [entry("1.png"), entry("2.png")]), kind="bucket", address=source.address)
    rows = orders("avatars at home/1.png\t\\N\t\\N", "2.png\t\\N\t\\N", "avatars at home/3.png\t\\N\t\\N")
    made = back_up_by_hand(vault, [rows], files=[tree])
    outcome = asked(vault, made, settings({"orders.file": "key"}))
    assert outcome.counted["file_values"] == 3
    assert outcome.counted["dangling_files"] == 1
