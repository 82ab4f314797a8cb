"""Looking at row text in blocks finds what a slow look at the whole of it finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.verification.rowtext import RowFacts, RowReader

KNOWN = (b"b", b"f", b"n", b"r", b"t", b"v", b"\\")
PIECES = [
    b"\\",
    b"\\\\",
    b"\\N",
    b"N",
    b"n",
    b"a",
    b"\t",
    b"\n",
    b"\r",
    b"\0",
    "ä".encode(),
    b"\xc3",
    b"\xff",
]


def slowly(data: bytes) -> tuple[int, int, int, bool, int, bool, bool]:
    """The same facts, a byte at a time."""
    ended = data.endswith(b"\n") or not data
    lines = data.split(b"\n")
    whole = lines[:-1]
    columns = [line.count(b"\t") + 1 for line in whole]
    bad = any(not _is_field(field) for line in lines for field in line.split(b"\t"))
    try:
        data.decode()
        utf8 = True
    except UnicodeDecodeError:
        utf8 = False
    controls = data.count(b"\r") + data.count(b"\0")
    return len(whole), min(columns, default=0), max(columns, default=0), bad, controls, utf8, ended


def _is_field(field: bytes) -> bool:
    if field == rb"\N":
        return True
    at = 0
    while (at := field.find(b"\\", at)) >= 0:
        if field[at + 1 : at + 2] not in KNOWN:
            return False
        at += 2
    return True


def read(data: bytes, cuts: list[int]) -> RowFacts:
    reader = RowReader()
    at = 0
    for cut in [*cuts, len(data)]:
        reader.feed(data[at : at + cut])
        at += cut
    reader.feed(data[at:])
    return reader.facts()


@given(st.lists(st.sampled_from(PIECES), max_size=14), st.lists(st.integers(1, 5), max_size=8), st.booleans())
def test_blocks_of_any_size_tell_the_same(pieces: list[bytes], cuts: list[int], ends: bool) -> None:
    data = b"".join(pieces) + (b"\n" if ends else b"")
    facts = read(data, cuts)
    rows, fewest, most, bad, controls, utf8, ended = slowly(data)
    assert (facts.rows, facts.fewest_columns, facts.most_columns, facts.ended) == (rows, fewest, most, ended)
    assert facts.raw_controls == controls
    assert (facts.not_utf8_at is None) == utf8
    # A field at the very end may still become something else; without a line feed it is reported anyway.
    if ended:
        assert (facts.bad_escapes > 0) == bad


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_character_that_lies_across_blocks_is_one_character(size: int) -> None:
    data = "日本\t\\N\tä\\\\\n".encode() * 20
    facts = read(data, [size] * (len(data) // size))
    assert facts == RowFacts(rows=20, fewest_columns=3, most_columns=3)


def test_the_place_of_a_wrong_byte_is_told() -> None:
    assert read(b"abc\xffdef\n", [2, 1]).not_utf8_at == 3
    assert read(b"ab\xc3\n", [3]).not_utf8_at == 2
    assert read(b"ab\xc3", [2]).not_utf8_at == 2
