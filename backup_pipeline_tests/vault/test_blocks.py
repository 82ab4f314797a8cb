"""Big files as blocks: what comes back is the file, and what did not change is not stored again."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_pipeline.errors import Damaged, RestoreError
from backup_pipeline.model.manifest import EarlierImage, FileImage, ObjectRef, Segment
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault import blocks, layout
from backup_pipeline.vault.blocks import image_objects, store_file
from backup_pipeline.vault.images import read_image, write_image
from backup_pipeline.vault.objects import ObjectWriter, read_bytes

BLOCK = 4096
#: Small segments, so that a test file of a few MB has several.
SMALL = 64 * BLOCK


@pytest.fixture
def writer(tmp_path: Path) -> ObjectWriter:
    return ObjectWriter(LocalStore(tmp_path / "vault"))


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SEGMENT", SMALL)
    monkeypatch.setattr(blocks, "WORTH_SPLITTING", 2 * BLOCK)


Keep = Callable[..., FileImage]


@pytest.fixture
def keep(writer: ObjectWriter, tmp_path: Path) -> Keep:
    path = tmp_path / "file"

    def keep(
        content: bytes, previous: FileImage | None = None, previous_id: str | None = "before"
    ) -> FileImage:
        path.write_bytes(content)
        return store_file(writer, path, "app.db", BLOCK, previous and EarlierImage(previous, previous_id))

    return keep


def content_of(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def changed_at(content: bytes, *indexes: int, mark: bytes = b"changed") -> bytes:
    out = bytearray(content)
    for index in indexes:
        out[index * BLOCK : index * BLOCK + len(mark)] = mark
    return bytes(out)


def rebuilt(writer: ObjectWriter, image: FileImage) -> bytes:
    return b"".join(read_image(writer.store, image))


def stored_bytes(writer: ObjectWriter) -> int:
    return sum(stat.size for stat in writer.store.list("objects/"))


@pytest.mark.parametrize(
    "size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL + 2 * BLOCK + 5]
)
@pytest.mark.usefixtures("small_segments")
def test_a_file_of_any_length_comes_back_as_it_was(writer: ObjectWriter, keep: Keep, size: int) -> None:
    content = content_of(1, size)
    image = keep(content)
    assert rebuilt(writer, image) == content
    assert (image.size, image.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert [segment.offset for segment in image.segments] == list(range(0, size, SMALL))


@pytest.mark.usefixtures("small_segments")
def test_an_unchanged_file_stores_nothing_and_says_whose_bytes_they_are(
    writer: ObjectWriter, keep: Keep
) -> None:
    first = keep(content_of(1, 3 * SMALL))
    stored = stored_bytes(writer)
    second = keep(content_of(1, 3 * SMALL), first, "one")
    third = keep(content_of(1, 3 * SMALL), second, "two")
    assert stored_bytes(writer) == stored
    assert [segment.reused_from for segment in second.segments] == ["one"] * 3
    assert [segment.reused_from for segment in third.segments] == ["one"] * 3
    assert image_objects(third) == image_objects(first)


@pytest.mark.usefixtures("small_segments")
def test_only_changed_blocks_are_stored(writer: ObjectWriter, keep: Keep) -> None:
    content = content_of(1, 3 * SMALL)
    first = keep(content)
    after = changed_at(content, 70, 71, 99)
    second = keep(after, first)
    assert rebuilt(writer, second) == after
    assert rebuilt(writer, first) == content
    assert [segment.reused_from for segment in second.segments] == ["before", None, "before"]
    new = {ref.sha256: ref for ref in image_objects(second) if ref not in image_objects(first)}
    sizes = sorted((ref.suffix, ref.plain_size) for ref in new.values() if ref.suffix != ".map.zst")
    assert sizes == [(".blocks.zst", 3 * BLOCK), (".digests.zst", 64 * 32)]


@pytest.mark.usefixtures("small_segments")
def test_appended_bytes_cost_what_was_appended(writer: ObjectWriter, keep: Keep) -> None:
    content = content_of(1, SMALL + 40 * BLOCK + 7)
    first = keep(content)
    after = content + content_of(2, 3 * BLOCK)
    second = keep(after, first)
    assert rebuilt(writer, second) == after
    packs = [
        ref
        for ref in image_objects(second)
        if ref not in image_objects(first) and ref.suffix == blocks.SUFFIX
    ]
    assert sum(pack.plain_size for pack in packs) == 3 * BLOCK + 7


@pytest.mark.usefixtures("small_segments")
def test_a_file_that_shrinks_comes_back_as_it_is_now(writer: ObjectWriter, keep: Keep) -> None:
    content = content_of(1, 2 * SMALL)
    first = keep(content)
    for size in (2 * SMALL - 1, SMALL + 30 * BLOCK, SMALL + 29 * BLOCK + 1, SMALL, 5 * BLOCK, 0):
        image = keep(content[:size], first)
        assert rebuilt(writer, image) == content[:size]


@pytest.mark.usefixtures("small_segments")
def test_a_segment_that_changed_much_is_stored_whole_again(writer: ObjectWriter, keep: Keep) -> None:
    content = content_of(1, SMALL)
    first = keep(content)
    assert keep(changed_at(content, *range(16)), first).segments[0].map is not None
    assert keep(changed_at(content, *range(17)), first).segments[0].map is None


@pytest.mark.usefixtures("small_segments")
def test_many_small_changes_do_not_pile_up_packs(
    writer: ObjectWriter, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "MOST_PACKS", 4)
    content = content_of(1, SMALL)
    image = keep(content)
    for step in range(30):
        content = changed_at(content, step % 7, mark=b"step %d" % step)
        image = keep(content, image)
        assert rebuilt(writer, image) == content
        assert len(image.segments[0].packs) <= 4 + 1
        assert sum(pack.plain_size for pack in image.segments[0].packs) <= 2 * SMALL


Edit = tuple[int, int, int]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 3 * SMALL),
    st.lists(
        st.tuples(st.integers(0, 5 * SMALL), st.lists(st.integers(0, 3 * 64), max_size=20)),
        min_size=1,
        max_size=6,
    ),
)
@pytest.mark.usefixtures("small_segments")
def test_any_history_of_changes_gives_every_version_back(
    tmp_path_factory: pytest.TempPathFactory, size: int, steps: list[tuple[int, list[int]]]
) -> None:
    folder = tmp_path_factory.mktemp("history")
    writer = ObjectWriter(LocalStore(folder / "vault"))
    content, image = content_of(size, size), None
    versions: list[tuple[FileImage, bytes]] = []
    for number, (new_size, touched) in enumerate([(size, []), *steps]):
        if number % 2:
            content = content[:new_size] + content_of(number, max(0, new_size - len(content)))
        at = [index for index in touched if (index + 1) * BLOCK <= len(content)]
        content = changed_at(content, *at, mark=b"edit %d" % number)
        (folder / "file").write_bytes(content)
        image = store_file(writer, folder / "file", "f", BLOCK, image and EarlierImage(image, str(number)))
        versions.append((image, content))
    for image, content in versions:
        assert rebuilt(writer, image) == content


@pytest.mark.usefixtures("small_segments")
def test_the_same_history_gives_the_same_objects(tmp_path: Path) -> None:
    images = []
    for name in ("one", "two"):
        writer = ObjectWriter(LocalStore(tmp_path / name))
        content, image = content_of(1, 2 * SMALL), None
        for step in range(4):
            content = changed_at(content, step, 64 + 2 * step, mark=b"%d" % step)
            (tmp_path / "file").write_bytes(content)
            image = store_file(writer, tmp_path / "file", "f", BLOCK, image and EarlierImage(image, "x"))
        images.append(image)
    assert images[0] == images[1]


@pytest.mark.parametrize("kind", ["packs", "map", "digests"])
@pytest.mark.parametrize("damage", ["gone", "shorter"])
@pytest.mark.usefixtures("small_segments")
def test_nothing_is_built_on_an_object_that_is_not_as_it_should_be(
    writer: ObjectWriter, keep: Keep, kind: str, damage: str
) -> None:
    content = content_of(1, SMALL)
    image = keep(changed_at(content, 5), keep(content))
    segment = image.segments[0]
    references = {"packs": segment.packs[0], "map": segment.map, "digests": segment.digests}
    reference = references[kind]
    assert reference is not None
    spoil(writer, reference, damage)
    for after in (changed_at(content, 5), changed_at(content, 5, 9)):
        again = keep(after, image)
        assert all(writer.holds(ref) for ref in image_objects(again))
        assert rebuilt(writer, again) == after


def spoil(writer: ObjectWriter, reference: ObjectRef, damage: str) -> None:
    assert isinstance(writer.store, LocalStore)
    path = writer.store.root / layout.object_key(reference)
    if damage == "gone":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    path.chmod(0o600)
    if damage == "shorter":
        path.write_bytes(data[:-1])
    else:
        data[len(data) // 2] ^= 0x10
        path.write_bytes(data)


@pytest.mark.usefixtures("small_segments")
def test_digests_that_are_not_digests_cost_a_whole_segment_and_nothing_else(
    writer: ObjectWriter, keep: Keep
) -> None:
    content = content_of(1, SMALL)
    first = keep(content)
    digests = first.segments[0].digests
    assert digests is not None
    spoil(writer, digests, "flipped")
    after = changed_at(content, 3)
    second = keep(after, first)
    assert second.segments[0].map is None
    assert rebuilt(writer, second) == after


@pytest.mark.parametrize("damage", ["gone", "shorter", "flipped"])
@pytest.mark.usefixtures("small_segments")
def test_damage_is_found_names_the_object_and_leaves_no_file(
    writer: ObjectWriter, keep: Keep, tmp_path: Path, damage: str
) -> None:
    content = content_of(1, 2 * SMALL)
    image = keep(changed_at(content, 5), keep(content))
    for reference in image_objects(image):
        if reference.suffix == blocks.DIGESTS_SUFFIX:
            continue  # not needed to put the file together
        path = writer.store.root / layout.object_key(reference)  # type: ignore[attr-defined]
        kept = path.read_bytes()
        spoil(writer, reference, damage)
        with pytest.raises(Damaged, match=reference.sha256[:12]):
            write_image(writer.store, image, tmp_path / "restored")
        assert not (tmp_path / "restored").exists()
        path.unlink(missing_ok=True)
        path.write_bytes(kept)
    write_image(writer.store, image, tmp_path / "restored")


def edited(image: FileImage, **changes: object) -> FileImage:
    return replace(image, segments=(replace(image.segments[0], **changes), *image.segments[1:]))  # type: ignore[arg-type]


@pytest.mark.usefixtures("small_segments")
def test_a_manifest_that_does_not_fit_its_objects_is_damage(
    writer: ObjectWriter, keep: Keep, tmp_path: Path
) -> None:
    content = content_of(1, 2 * SMALL)
    first = keep(content)
    second = keep(changed_at(content, 5), first)
    one, two = second.segments
    for wrong in (
        edited(second, sha256="0" * 64),
        edited(second, size=one.size - BLOCK),
        edited(second, packs=(one.packs[1], one.packs[0])[:1]),
        edited(first, packs=(one.packs[0], one.packs[1])),
        edited(first, packs=two.packs),
        replace(second, segments=(two, one)),
        replace(second, segments=(one,)),
        replace(second, size=second.size + 1),
        replace(second, sha256="0" * 64),
    ):
        with pytest.raises(Damaged):
            write_image(writer.store, wrong, tmp_path / "restored")
        assert not (tmp_path / "restored").exists()


@pytest.mark.usefixtures("small_segments")
def test_a_map_that_points_elsewhere_is_damage(writer: ObjectWriter, keep: Keep) -> None:
    content = content_of(1, SMALL)
    image = keep(changed_at(content, 5), keep(content))
    pack = image.segments[0].packs[0].sha256
    good = read_bytes(writer.store, image.segments[0].map).decode()  # type: ignore[arg-type]
    for text in (
        "",
        "x\ty\tz\n",
        f"{pack}\t0\t{SMALL + 1}\n",
        f"{pack}\t-1\t{SMALL}\n",
        good[:-10],
        good + good,
    ):
        wrong = edited(image, map=writer.write_bytes(text.encode(), blocks.MAP_SUFFIX))
        with pytest.raises(Damaged):
            rebuilt(writer, wrong)
        # The next backup does not trust it either.
        after = changed_at(content, 5, 6)
        assert rebuilt(writer, keep(after, wrong)) == after


def test_another_block_size_starts_anew(writer: ObjectWriter, tmp_path: Path) -> None:
    content = content_of(1, 3 * 1024 * 1024)
    path = tmp_path / "file"
    path.write_bytes(content)
    first = store_file(writer, path, "f", 4096, None)
    second = store_file(writer, path, "f", 8192, EarlierImage(first, "x"))
    assert second.segments[0].digests.plain_size == first.segments[0].digests.plain_size // 2  # type: ignore[union-attr]
    assert rebuilt(writer, second) == content


def test_a_small_file_is_one_object(writer: ObjectWriter, keep: Keep) -> None:
    image = keep(content_of(1, 50_000))
    assert len(image_objects(image)) == 1


def test_a_restored_file_is_private_and_never_replaces_one(
    writer: ObjectWriter, keep: Keep, tmp_path: Path
) -> None:
    image = keep(b"precious")
    target = tmp_path / "restored"
    write_image(writer.store, image, target)
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(RestoreError, match="exists"):
        write_image(writer.store, keep(b"other"), target)
    assert target.read_bytes() == b"precious"


def by_hand(writer: ObjectWriter, segment: Segment, folder: Path, out: Path) -> None:
    """What RECOVER.md tells a person to do: zstd, and for each line of the map one `tail | head`."""
    assert isinstance(writer.store, LocalStore)

    def unpack(reference: ObjectRef, name: str) -> None:
        key = writer.store.root / layout.object_key(reference)  # type: ignore[attr-defined]
        subprocess.run(["zstd", "-q", "-f", "-d", str(key), "-o", str(folder / name)], check=True)

    for pack in segment.packs:
        unpack(pack, pack.sha256)
    if segment.map is None:
        subprocess.run(
            ["sh", "-c", 'cat "$0" >> "$1"', segment.packs[0].sha256, str(out)], cwd=folder, check=True
        )
        return
    unpack(segment.map, "map")
    script = 'while read -r pack offset length; do tail -c +$((offset + 1)) "$pack" | head -c "$length"; done < map >> "$0"'
    subprocess.run(["sh", "-c", script, str(out)], cwd=folder, check=True)


@pytest.mark.usefixtures("small_segments")
def test_a_file_is_rebuilt_by_hand_with_zstd_tail_and_head(
    writer: ObjectWriter, keep: Keep, tmp_path: Path
) -> None:
    content = content_of(1, 2 * SMALL + 100)
    image = keep(content)
    for step in range(3):
        content = changed_at(content, 3 + step, 70 - step, 127, mark=b"%d" % step)
        image = keep(content, image)
    folder, out = tmp_path / "hand", tmp_path / "by-hand"
    folder.mkdir()
    for segment in image.segments:
        by_hand(writer, segment, folder, out)
    assert out.read_bytes() == content


def test_a_file_that_grows_while_it_is_read_is_kept_as_far_as_it_went(
    writer: ObjectWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 10_000)
    monkeypatch.setattr(blocks, "SEGMENT", 4096)
    grown: list[int] = []

    def grow(_: int) -> None:
        grown.append(1)
        with path.open("ab") as file:
            file.write(b"b" * 1000)

    image = store_file(writer, path, "f", BLOCK, None, grow)
    assert grown
    assert rebuilt(writer, image) == b"a" * 10_000


def test_progress_adds_up_to_the_size(writer: ObjectWriter, keep: Keep, tmp_path: Path) -> None:
    told: list[int] = []
    image = keep(os.urandom(100_000))
    write_image(writer.store, image, tmp_path / "out", told.append)
    assert sum(told) == image.size
