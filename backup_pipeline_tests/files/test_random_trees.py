"""Random trees in, the same trees out: names, types, modes, times, links and contents; over several backups of a tree
that changes between them."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from backup_pipeline.files.store import packing
from backup_pipeline_tests.harness.soak import SEED
from backup_pipeline_tests.harness.trees import TreeBench

#: Any bytes that a Linux file system takes for a name.
names = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
contents = st.one_of(
    st.just(b""),
    st.binary(max_size=600),
    st.integers(0, 9).map(lambda seed: hashlib.sha256(bytes([seed])).digest() * 400),
    st.integers(0, 5).map(lambda seed: bytes([65 + seed]) * 5000),
)
kinds = st.one_of(
    contents.map(lambda data: ("file", data)),
    st.just(("folder", b"")),
    names.map(lambda target: ("link", target)),
    st.just(("hardlink", b"")),
)
steps = st.lists(
    st.tuples(
        st.lists(names, min_size=1, max_size=4), kinds, st.integers(0o400, 0o777), st.integers(1, 2**61)
    ),
    max_size=14,
)


def apply(root: Path, changes: list[tuple[list[bytes], tuple[str, bytes], int, int]]) -> None:
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    for parts, (kind, data), mode, time in changes:
        path = root.joinpath(*map(os.fsdecode, parts))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            # Something else is in the way: a file, or a link that leads to itself.
            if error.errno not in (errno.EEXIST, errno.ENOTDIR, errno.ELOOP):
                raise
            continue
        remove(path)
        if kind == "file":
            path.write_bytes(data)
            files.append(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "link":
            path.symlink_to(os.fsdecode(data))
            continue
        elif files and files[-1].is_file() and not files[-1].is_symlink():
            os.link(files[-1], path)
        else:
            continue
        path.chmod(mode | (0o700 if path.is_dir() else 0))
        if path.is_file():
            os.utime(path, ns=(time, time))


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def seen(root: Path) -> dict[bytes, tuple[object, ...]]:
    found: dict[bytes, tuple[object, ...]] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        about: tuple[object, ...]
        if stat.S_ISLNK(status.st_mode):
            about = ("link", os.fsencode(path.readlink()))
        elif stat.S_ISDIR(status.st_mode):
            about = ("folder", stat.S_IMODE(status.st_mode))
        else:
            about = ("file", stat.S_IMODE(status.st_mode), status.st_mtime_ns, path.read_bytes())
        found[os.fsencode(path.relative_to(root))] = about
    return found


def kept(bench: TreeBench) -> dict[bytes, tuple[object, ...]]:
    data = bench.contents()
    found: dict[bytes, tuple[object, ...]] = {}
    for entry in bench.entries():
        about: tuple[object, ...]
        if entry.type == "link":
            about = ("link", os.fsencode(entry.target))
        elif entry.type == "folder":
            about = ("folder", entry.mode)
        else:
            content = data[entry.target if entry.type == "hardlink" else entry.path]
            about = ("file", entry.mode, entry.mtime_ns, content)
        found[entry.sort_key] = about
    return found


def check(nights: list[list[tuple[list[bytes], tuple[str, bytes], int, int]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tree"
        root.mkdir()
        bench = TreeBench(root, Path(folder) / "vault")
        for changes in nights:
            apply(root, changes)
            tree = bench.back_up().tree
            keys = [entry.sort_key for entry in bench.entries()]
            assert keys == sorted(set(keys))
            assert kept(bench) == seen(root)
            # The same tree is the same listing, with and without earlier knowledge.
            fresh = TreeBench(root, Path(folder) / "fresh").back_up().tree
            assert fresh.fingerprint == tree.fingerprint
            shutil.rmtree(Path(folder) / "fresh")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(nights=st.lists(steps, min_size=1, max_size=4))
def test_a_random_tree_comes_out_as_it_went_in(
    nights: list[list[tuple[list[bytes], tuple[str, bytes], int, int]]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "TARGET", 10_000)
        check(nights)


@pytest.mark.soak
@seed(SEED)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(nights=st.lists(steps, min_size=1, max_size=6))
def test_many_random_trees_come_out_as_they_went_in(
    nights: list[list[tuple[list[bytes], tuple[str, bytes], int, int]]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "TARGET", 10_000)
        check(nights)
