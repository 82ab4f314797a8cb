"""Random trees in, identical trees out: names, kinds, modes, times, links and bytes, through the real engine."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_pipeline.files.restore.files_plan import FilesOrder
from backup_pipeline.files.restore.run import restore_files
from backup_pipeline.model.manifest import FileTree
from backup_pipeline.verification.verify import verify
from backup_pipeline_tests.harness.handmade import identifier_of, prepared
from backup_pipeline_tests.harness.handmade_files import backup_of, state_of
from backup_pipeline_tests.harness.trees import TreeBench

#: Any bytes that may be a name, and some that are asking for trouble.
NAMES = st.one_of(
    st.binary(min_size=1, max_size=20).filter(
        lambda b: b"/" not in b and b"\0" not in b and b not in (b".", b"..")
    ),
    st.sampled_from(
        [b"a", b"A", b"a.txt", b"-rf", b" ", b"\n", b"n" * 255, b"\xff\xfe", "Zoe\u0308".encode(), b"..."]
    ),
)
CONTENTS = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([b"", b"same", b"x" * 70_000, bytes(300_000)]),
)
MODES = st.sampled_from([0o644, 0o600, 0o755, 0o400, 0o000, 0o1777, 0o666])
#: Also before 1970: archives and cameras with a wrong clock have such files.
TIMES = st.one_of(st.integers(-(2**31) * 10**9, 2**33 * 10**9), st.sampled_from([0, 1, -1, -(10**9) - 1]))
ENTRIES = st.lists(
    st.tuples(
        st.lists(NAMES, min_size=1, max_size=4),
        st.sampled_from(["file", "file", "file", "folder", "link", "hardlink", "sparse"]),
        CONTENTS,
        MODES,
        TIMES,
    ),
    max_size=25,
)


def below(root: Path) -> list[Path]:
    """Everything in a tree. `rglob` of Python 3.11.2 fails at a link whose target is longer than a name may be."""
    return [Path(parent, name) for parent, *names in os.walk(root) for name in (*names[0], *names[1])]


@contextmanager
def folder() -> Iterator[Path]:
    """One for each example: pytest's own is for all of them."""
    made = Path(tempfile.mkdtemp())
    try:
        yield made
    finally:
        for path in below(made):
            if not path.is_symlink() and path.is_dir():
                path.chmod(0o700)
        shutil.rmtree(made)


def build(root: Path, entries: list[tuple[list[bytes], str, bytes, int, int]]) -> None:
    root.mkdir()
    made: list[Path] = []
    for names, kind, data, mode, _ in entries:
        path = root.joinpath(*map(os.fsdecode, names))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink() or path.exists():
                continue
            if kind == "folder":
                path.mkdir()
            elif kind == "link":
                path.symlink_to(os.fsdecode(names[-1]) + "x")
            elif kind == "hardlink" and made:
                os.link(made[len(data) % len(made)], path)
            elif kind == "sparse":
                with path.open("wb") as file:
                    file.truncate(1 << 20)
                    file.seek(1 << 19)
                    file.write(data)
            else:
                path.write_bytes(data)
                path.chmod(mode)
                made.append(path)
        except OSError:
            continue  # a file where a folder should be
    paths = sorted(below(root), key=lambda path: len(path.parts), reverse=True)
    for number, path in enumerate(paths):
        moment = entries[number % len(entries)][4]
        os.utime(path, ns=(0, moment), follow_symlinks=False)
        if not path.is_symlink() and path.is_dir():
            path.chmod((0o755, 0o700, 0o2775, 0o1777)[number % 4])
            os.utime(path, ns=(0, moment))


def back_up(bench: TreeBench, number: int) -> FileTree:
    vault = prepared(bench.vault)
    stored = bench.back_up()
    backup_of(vault, stored.tree, number=number)
    return stored.tree


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(entries=ENTRIES, change=ENTRIES)
def test_any_tree_comes_back_as_it_was(
    entries: list[tuple[list[bytes], str, bytes, int, int]],
    change: list[tuple[list[bytes], str, bytes, int, int]],
) -> None:
    with folder() as base:
        build(base / "media", entries)
        bench = TreeBench(base / "media", base / "vault")
        for number in (1, 2):
            back_up(bench, number)
            vault = prepared(bench.vault)
            assert verify(vault.backup("shop", identifier_of(number))).errors == ()
            manifest = vault.backup("shop", identifier_of(number)).manifest
            order = FilesOrder(trees=("media",), outside_links=True)
            restore_files(vault.backup_of(manifest), base / f"out{number}", order)
            assert state_of(base / f"out{number}") == state_of(base / "media")
            again = restore_files(vault.backup_of(manifest), base / f"out{number}", order)
            assert again.files == again.links == 0
            assert state_of(base / f"out{number}") == state_of(base / "media")
            if number == 1 and change:
                (base / "more").mkdir()
                build(base / "more" / "tree", change)
                (base / "more" / "tree").rename(base / "media" / "+changed")


def test_the_modes_that_are_tried_are_those_that_were_written() -> None:
    """The test above would say nothing about modes if the file system ignored them."""
    with folder() as base:
        build(base / "media", [([b"a"], "file", b"x", 0o400, 1)])
        assert stat.S_IMODE((base / "media" / "a").stat().st_mode) == 0o400
