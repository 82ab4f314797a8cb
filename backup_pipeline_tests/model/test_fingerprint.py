"""Fingerprints: equal for the same rows in any order and any cut, different for anything else."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.databases import differing as rows
from backup_pipeline.databases.differing import differing_rows, lines_of
from backup_pipeline.model.fingerprint import Fingerprint, fingerprint_of, parse_fingerprint
from backup_pipeline.model.manifest import Engine, Manifest, ObjectRef, TableEntry
from backup_pipeline.model.schema import Schema, Table, TableId

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


class Block(bytes):
    """Counts the bytes that are copied to join it with what came before."""

    copied = 0

    def __radd__(self, before: bytes) -> bytes:
        Block.copied += len(before) + len(self)
        return bytes(before) + bytes(self)


def test_a_long_line_in_many_blocks_is_not_copied_at_every_block() -> None:
    """128 MiB in one line took 7 seconds, 256 MiB 28: each block was joined with all that came before."""
    Block.copied = 0
    blocks = [Block(b"x" * 100) for _ in range(50)] + [Block(b"y\nz\n")]
    long = b"x" * 5000 + b"y"
    assert fingerprint_of(blocks).hexdigest() == whole([long, b"z"])
    assert list(lines_of(blocks)) == [long, b"z"]
    assert Block.copied == 0


def test_examples_of_wide_rows_are_told_by_their_beginning_and_keep_no_more_of_them() -> None:
    """Rows of a megabyte that differ behind their first thousand characters, in many of the lines that are kept."""
    wide = [b"%d" % number + b"x" * 2**20 for number in range(3)]
    ours = [line + b"a" for line in wide]
    theirs = [wide[0] + b"b", *ours[1:]]
    found = differing_rows(lambda: [text(ours)], lambda: [text(theirs)])
    beginning = "0" + "x" * 299
    assert found.only_in_backup == found.only_in_restored == (f"{beginning}… ({2**20 + 2} bytes)",)


def test_what_is_kept_for_examples_is_bounded_by_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_KEPT_BYTES", 10_000)
    lines = [b"%05d" % number * 100 for number in range(1000)]
    kept = rows._kept([text(lines)], frozenset(range(rows._BUCKETS)))
    assert len(kept) == 20
    assert sum(len(beginning) for beginning, _, _ in kept) == 10_000


def test_tables_are_found_by_name_without_looking_at_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """25,000 tables took minutes: each was looked for among all of them."""
    ids = [TableId("public", f"t{number}") for number in range(200)]
    schema = Schema("postgres", tuple(map(Table, ids)))
    reference = ObjectRef("", 0, "", "", 0)
    entries = tuple(TableEntry(one.schema, one.name, 0, ()) for one in ids)
    manifest = Manifest(
        "shop", "", "manual", "full", "", "", "", Engine("postgres", "16"), reference, entries
    )
    compared = 0
    equal = TableId.__eq__

    def counting(self: TableId, other: object) -> bool:
        nonlocal compared
        compared += 1
        return equal(self, other)

    monkeypatch.setattr(TableId, "__eq__", counting)
    for holder in (schema, manifest):
        compared = 0
        for number in range(200):
            found = holder.table(TableId("public", f"t{number}"))
            assert found is not None
            assert found.id.name == f"t{number}"
        assert holder.table(TableId("public", "none")) is None
        # Once for each that is found, and now and then for two that share a place.
        assert compared < 1000
