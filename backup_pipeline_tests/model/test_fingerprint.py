"""Fingerprints: equal for the same rows in any order and any cut, different for anything else."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.model.fingerprint import Fingerprint, fingerprint_of, parse_fingerprint

LINES = st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=30)


def text(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def whole(lines: list[bytes]) -> str:
    return fingerprint_of([text(lines)]).hexdigest()


@given(LINES, st.randoms())
def test_the_order_of_the_rows_does_not_matter(lines: list[bytes], source: random.Random) -> None:
    shuffled = list(lines)
    source.shuffle(shuffled)
    assert whole(shuffled) == whole(lines)


@given(LINES, st.lists(st.integers(0, 400), max_size=8))
def test_where_blocks_are_cut_does_not_matter(lines: list[bytes], cuts: list[int]) -> None:
    data = text(lines)
    edges = [0, *sorted(cuts), len(data)]
    blocks = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert fingerprint_of(blocks).hexdigest() == whole(lines)


@given(LINES, LINES)
def test_parts_are_combined_to_the_whole(one: list[bytes], two: list[bytes]) -> None:
    parts = fingerprint_of([text(one)]).combine(fingerprint_of([text(two)]))
    assert parts.hexdigest() == whole(one + two)


@given(LINES, st.binary(max_size=12).filter(lambda line: b"\n" not in line))
def test_one_row_more_is_another_fingerprint(lines: list[bytes], extra: bytes) -> None:
    assert whole([*lines, extra]) != whole(lines)


@given(LINES.filter(bool), st.binary(max_size=12).filter(lambda line: b"\n" not in line))
def test_one_row_changed_is_another_fingerprint(lines: list[bytes], other: bytes) -> None:
    changed = [other, *lines[1:]]
    assert (whole(changed) == whole(lines)) == (lines[0] == other)


def test_equal_rows_do_not_cancel_out() -> None:
    assert whole([b"x", b"x"]) != whole([b"y", b"y"])
    assert whole([b"x", b"x", b"y"]) != whole([b"x", b"y", b"y"])


def test_no_rows_is_the_same_for_every_table() -> None:
    assert Fingerprint().hexdigest() == "0:" + "0" * 32


def test_rows_without_columns_are_counted() -> None:
    assert fingerprint_of([b"\n\n\n"]).rows == 3


def test_a_last_line_without_its_newline_is_a_row() -> None:
    assert fingerprint_of([b"a\n", b"b"]).hexdigest() == whole([b"a", b"b"])


def test_the_fingerprint_is_the_same_for_ever() -> None:
    """It stands in manifests: another value here would make old backups look wrong."""
    assert whole([b"1\tone", b"2\ttwo", b"2\ttwo"]) == PINNED


PINNED = "3:dae0021a0e4086811a5ee4b05985355a"


@pytest.mark.parametrize("lines", [[], [b"a"], [b"", b""]])
def test_what_is_written_can_be_read(lines: list[bytes]) -> None:
    found = fingerprint_of([text(lines)])
    assert parse_fingerprint(found.hexdigest()) == found
