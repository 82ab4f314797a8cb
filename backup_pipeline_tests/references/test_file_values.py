"""What a value names, in the shapes in which applications write file names into their tables."""

from __future__ import annotations

import pytest

from backup_pipeline.config.trees import ReferenceSettings
from backup_pipeline.references.file_values import difference, files_named, folded


def named(value: str | None, prefix: str = "", **settings: str) -> list[tuple[str, str]]:
    """(sort, the likeliest path) of each file that is named."""
    reference = ReferenceSettings.model_validate(settings or {"kind": "path"})
    return [
        (one.sort, one.candidates[0] if one.candidates else one.note)
        for one in files_named(value, reference, "media", prefix)
    ]


def candidates(value: str, **settings: str) -> tuple[str, ...]:
    (one,) = files_named(value, ReferenceSettings.model_validate(settings or {"kind": "path"}), "media")
    return one.candidates


@pytest.mark.parametrize("value", [None, "", "  ", "\t"])
@pytest.mark.parametrize("kind", ["path", "url", "key", "json"])
def test_null_and_empty_values_name_nothing(value: str | None, kind: str) -> None:
    assert named(value, kind=kind) == []


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("orders/2026/a b.pdf", "orders/2026/a b.pdf"),
        ("./orders/a.pdf", "orders/a.pdf"),
        ("/orders/a.pdf", "orders/a.pdf"),
        ("orders/100%.pdf", "orders/100%.pdf"),
        ("orders/a#1?.pdf", "orders/a#1?.pdf"),
        ("orders/zoë.pdf", "orders/zoë.pdf"),
    ],
)
def test_a_relative_path_is_taken_as_it_stands(value: str, path: str) -> None:
    assert named(value)[0] == ("path", path)


def test_what_is_commonly_put_around_a_path_is_tried_after_the_path_itself() -> None:
    assert "orders/a.pdf" in candidates("/media/orders/a.pdf")
    assert "orders/a.pdf" in candidates("orders\\a.pdf")
    assert "orders/a b.pdf" in candidates("orders/a%20b.pdf")
    assert candidates("orders/a%20b.pdf")[0] == "orders/a%20b.pdf", "a file may really be called so"
    assert "media/a.pdf" in candidates("/media/a.pdf"), "there may be a folder of the tree's name in it"


BASE = {"kind": "url", "base": "https://cdn.example.com/media/"}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("https://cdn.example.com/media/orders/a%20b.pdf?v=3#page=2", ("path", "orders/a b.pdf")),
        ("http://CDN.example.com/media/orders/a.pdf", ("path", "orders/a.pdf")),
        ("orders/a.pdf", ("path", "orders/a.pdf")),
        ("https://images.example.org/x.png", ("foreign", "of images.example.org")),
        ("https://cdn.example.com/static/x.png", ("foreign", "not below https://cdn.example.com/media/")),
        ("data:image/png;base64,iVBORw0KGgo=", ("foreign", "inline data")),
    ],
)
def test_a_url_is_one_of_our_files_where_its_base_says_so(value: str, found: tuple[str, str]) -> None:
    assert named(value, **BASE) == [found]


def test_a_key_is_taken_with_and_without_the_prefix_of_its_bucket() -> None:
    for value in ("avatars/1.png", "uploads/avatars/1.png", "s3://app/uploads/avatars/1.png"):
        found = list(files_named(value, ReferenceSettings(kind="key"), "media", "uploads"))
        assert found[0].candidates[0] == "avatars/1.png", value


@pytest.mark.parametrize(
    ("value", "field", "paths"),
    [
        ('["a.png", "b.png"]', "", ["a.png", "b.png"]),
        (
            '[{"file": "a.png", "n": 1}, {"file": null}, {"n": 2}, {"file": "c.png"}]',
            "file",
            ["a.png", "c.png"],
        ),
        ('{"file": {"path": "a.png"}}', "file.path", ["a.png"]),
        ('"a.png"', "", ["a.png"]),
        ("[]", "", []),
        ("null", "", []),
        ('["", "a.png"]', "", ["a.png"]),
    ],
)
def test_a_json_value_names_each_of_its_files(value: str, field: str, paths: list[str]) -> None:
    found = [one for one in named(value, kind="json", field=field) if one[0] != "absent"]
    assert found == [("path", path) for path in paths]


@pytest.mark.parametrize("value", ["[1, 2]", '[{"path": "a.png"}]', "a.png", "[" * 100_000])
def test_json_that_is_not_what_was_said_is_unreadable_and_not_silently_nothing(value: str) -> None:
    assert [sort for sort, _ in named(value, kind="json")] == ["unreadable"]


def test_spellings_that_differ_in_case_or_composition_fold_to_the_same() -> None:
    assert folded("Ordner/Zoe\u0308.PDF") == folded("ordner/zo\u00eb.pdf")
    assert difference("a/zo\u00eb.pdf", "a/zoe\u0308.pdf") == "unicode"
    assert difference("a/X.pdf", "a/x.pdf") == "case"
    assert folded("a\udcff.pdf") != folded("b\udcff.pdf")
