"""What a file tree may hold is judged by content, and every breach is named; a breach never speaks against a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.model.files import FileEntry
from backup_pipeline.model.outcome import CheckResult
from backup_pipeline.references import file_policy
from backup_pipeline.references.file_policy import is_allowed
from backup_pipeline_tests.harness.handmade import back_up_by_hand, prepared
from backup_pipeline_tests.references.test_file_references import tree_of


def check(folder: Path, entries: list[FileEntry], **policy: Any) -> CheckResult:
    vault = prepared(folder / "vault")
    manifest = back_up_by_hand(vault, [], files=[tree_of(vault, entries)])
    trees = {"media": FilesSettings.model_validate({"path": "/srv/media", **policy})}
    return file_policy.check(vault.backup_of(manifest), trees)


def entry(path: str, media: str = "", size: int = 10) -> FileEntry:
    return FileEntry(path, size=size, sha256="0" * 64, media=media)


TYPES = ["image/*", "application/pdf", ".dwg", ".dxf"]


def test_files_that_are_what_they_may_be_give_no_finding(tmp_path: Path) -> None:
    entries = [
        entry("a.jpg", "image/jpeg"),
        entry("b.PDF", "application/pdf"),
        entry("c.dwg", "image/vnd.dwg"),
        entry("empty.pdf", size=0),
    ]
    outcome = check(tmp_path, entries, types=TYPES, max_size=10)
    assert outcome.findings == ()
    assert outcome.counted["policy_files"] == 4
    assert outcome.counted["image_jpeg_files"] == 1
    assert outcome.counted["application_pdf_bytes"] == 10


@pytest.mark.parametrize(
    ("one", "codes"),
    [
        (entry("a.jpg", "image/jpeg", size=11), {"file-too-large"}),
        (entry("a.zip", "application/zip"), {"file-type"}),
        (entry("a.jpg", "image/png"), {"file-name-misleads"}),
        (entry("a.jpg", "application/x-executable"), {"file-type", "file-may-run", "file-name-misleads"}),
        (entry("a.gif", "image/gif; also=php"), {"file-is-two-things"}),
        (entry("a.svg", "image/svg+xml; also=script"), {"file-is-two-things"}),
        (entry("a.sh", "text/x-script"), {"file-type", "file-may-run"}),
    ],
)
def test_each_breach_is_a_warning_with_the_file_as_its_example(
    tmp_path: Path, one: FileEntry, codes: set[str]
) -> None:
    outcome = check(tmp_path, [one, entry("z.pdf", "application/pdf")], types=TYPES, max_size=10)
    assert {finding.code for finding in outcome.findings} == codes
    assert {finding.severity for finding in outcome.findings} == {"warning"}
    assert all(finding.examples[0].startswith(one.path) for finding in outcome.findings)
    assert outcome.counted["policy_breaches"] == len(codes)


def test_a_tree_without_a_policy_is_left_alone(tmp_path: Path) -> None:
    assert check(tmp_path, [entry("a.sh", "text/x-script")]) == CheckResult()


def test_files_that_were_stored_before_there_was_a_policy_are_counted_and_said(tmp_path: Path) -> None:
    outcome = check(tmp_path, [entry("a.jpg")], types=TYPES)
    assert [finding.code for finding in outcome.findings] == ["policy-not-checked"]


@pytest.mark.parametrize(
    ("path", "kind", "allowed"),
    [
        ("a.bin", "image/vnd.dwg", True),
        ("a.dwg", "application/zip", False),
        ("a.special", "application/octet-stream", True),
        ("a.other", "application/octet-stream", False),
        ("a.docx", "application/zip", True),
    ],
)
def test_a_suffix_stands_for_the_contents_that_are_called_so(path: str, kind: str, allowed: bool) -> None:
    assert is_allowed(path, kind, [".dwg", ".special", ".docx"]) is allowed
