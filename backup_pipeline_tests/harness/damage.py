"""Damage on purpose: seeded, and known to have happened.

A plan says what will be done to a copy of a vault and what must be said about it: at least one error, and for damaged
objects the names of exactly the tables that they belong to. A damage that leaves every byte as it was is no damage,
and fails the test that planned it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backup_pipeline.model import canonical

Change = Callable[[Path], None]


@dataclass(frozen=True)
class Damage:
    """One planned damage. Apply it to a copy."""

    what: str
    change: Change
    #: The tables that must be named, and no other; None: any error will do.
    tables: frozenset[str] | None = None
    #: Only a full verification reads deep enough.
    full: bool = False

    def __str__(self) -> str:
        return self.what


def copy_vault(source: Path, target: Path) -> Path:
    """A copy for the price of its directories: files are shared, and every damage replaces the file it changes."""
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(parents=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)
    return target


def state(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def rewrite(path: Path, data: bytes) -> None:
    """Never in place: the original shares these bytes."""
    fresh = path.with_name(path.name + ".fresh")
    fresh.write_bytes(data)
    fresh.replace(path)


def alter(path: Path) -> None:
    """One bit of the last byte: a byte that is set may have held that very value already."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    rewrite(path, bytes(data))


def plan(folder: Path, seed: int) -> Damage:
    """The seed-th damage to this vault; the same every time."""
    chance = random.Random(seed)
    kind = chance.choice(sorted(_KINDS))
    return _KINDS[kind](_Vault(folder), chance)


class _Vault:
    """What there is to damage, found without the product's own readers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = sorted(path for path in (folder / "objects").rglob("*") if path.is_file())
        self.manifests = sorted(folder.glob("*/*/manifest.json"))
        self.files = sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and path.relative_to(folder).parts[0] != "tmp"
        )

    def rest(self) -> list[Path]:
        return [path for path in self.files if path not in set(self.objects)]

    def tables_of(self, *damaged: Path) -> frozenset[str] | None:
        """None: it is no table's (a schema, a definition), so that any error will do."""
        names = {path.name for path in damaged}
        found = set()
        for path in self.manifests:
            manifest = json.loads(path.read_bytes())
            everything = {f"{t['schema']}.{t['name']}" for t in manifest["tables"]}
            for table in manifest["tables"]:
                for chunk in table.get("chunks", ()):
                    if _name(chunk["object"]) in names:
                        found.add(f"{table['schema']}.{table['name']}")
            for segment in manifest.get("image", {}).get("segments", ()):
                parts = [*segment["packs"], segment.get("map"), segment.get("digests")]
                if names & {_name(part) for part in parts if part}:
                    found |= everything
        return frozenset(found) or None


def _name(reference: dict[str, Any]) -> str:
    return f"{reference['sha256']}{reference['suffix']}"


def _any_file(vault: _Vault, chance: random.Random) -> Path:
    """As often an object as anything else, however few or many of each there are."""
    return chance.choice(vault.objects if chance.random() < 0.5 else vault.rest())


def _bytes_damage(
    change: Callable[[bytes, random.Random], bytes], what: str
) -> Callable[[_Vault, random.Random], Damage]:
    def planned(vault: _Vault, chance: random.Random) -> Damage:
        path = _any_file(vault, chance)
        key = path.relative_to(vault.folder)
        seed = chance.getrandbits(64)

        def act(folder: Path) -> None:
            rewrite(folder / key, change(path.read_bytes(), random.Random(seed)))

        return Damage(f"{what} {key}", act, vault.tables_of(path))

    return planned


def _flip(data: bytes, chance: random.Random) -> bytes:
    """One bit, and never a fixed value: overwriting a byte may leave it as it was."""
    place = chance.randrange(len(data) * 8)
    out = bytearray(data)
    out[place // 8] ^= 1 << place % 8
    return bytes(out)


def _truncate(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _append(data: bytes, chance: random.Random) -> bytes:
    return data + chance.choice((b"\n", b"\0", data, chance.randbytes(chance.randrange(1, 200))))


def _zero(data: bytes, chance: random.Random) -> bytes:
    """A run of zeros, as a disk leaves it that lost a sector."""
    start = chance.randrange(len(data))
    length = min(len(data) - start, chance.randrange(1, 600))
    return data[:start] + bytes(length) + data[start + length :]


def _insert(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.randbytes(chance.randrange(1, 20)) + data[place:]


def _delete(vault: _Vault, chance: random.Random) -> Damage:
    # A missing seal alone is what a run leaves that was killed right after its manifest: a warning, no damage. And a
    # vault of an earlier version has no newest.json.
    spared = ("manifest.json.sha256", "newest.json")
    path = chance.choice([path for path in vault.files if path.name not in spared])
    key = path.relative_to(vault.folder)
    return Damage(f"delete {key}", lambda folder: (folder / key).unlink(), vault.tables_of(path))


def _newest(vault: _Vault, chance: random.Random) -> Damage:
    key = vault.manifests[-1].relative_to(vault.folder)
    return Damage("delete the newest manifest", lambda folder: (folder / key).unlink())


def _two_objects(vault: _Vault, chance: random.Random) -> tuple[Path, Path]:
    one, other = chance.sample(vault.objects, 2)
    return one, other


def _swap(vault: _Vault, chance: random.Random) -> Damage:
    one, other = _two_objects(vault, chance)

    def act(folder: Path) -> None:
        rewrite(folder / one.relative_to(vault.folder), other.read_bytes())
        rewrite(folder / other.relative_to(vault.folder), one.read_bytes())

    return Damage(f"swap {one.name[:12]} and {other.name[:12]}", act, vault.tables_of(one, other))


def _replace(vault: _Vault, chance: random.Random) -> Damage:
    """By the bytes of another object that is whole: yesterday's chunk in the place of today's."""
    one, other = _two_objects(vault, chance)

    def act(folder: Path) -> None:
        rewrite(folder / one.relative_to(vault.folder), other.read_bytes())

    return Damage(f"replace {one.name[:12]} by {other.name[:12]}", act, vault.tables_of(one))


# ── edits of a manifest by an attacker who knows its form


def _edit(
    vault: _Vault,
    chance: random.Random,
    change: Callable[[dict[str, Any], random.Random], str],
    *,
    seal: bool,
) -> Damage:
    """Change a manifest and write it canonically; with `seal`, make a new seal as well."""
    path = chance.choice(vault.manifests)
    key = path.relative_to(vault.folder)
    seed = chance.getrandbits(64)
    # The chain shows every edit of a manifest that another one follows.
    deep = seal and path == vault.manifests[-1]

    def act(folder: Path) -> None:
        manifest = json.loads(path.read_bytes())
        change(manifest, random.Random(seed))
        data = canonical.encode(manifest)
        rewrite(folder / key, data)
        if seal:
            line = f"{hashlib.sha256(data).hexdigest()}  manifest.json\n"
            rewrite(folder / key.with_name("manifest.json.sha256"), line.encode())

    what = change(json.loads(path.read_bytes()), random.Random(seed))
    return Damage(f"{what} in {key.parent}{', sealed again' if seal else ''}", act, full=deep)


def _numbers(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        if isinstance(value, (dict, list)):
            yield from _numbers(value, (*path, key))
        elif isinstance(value, int) and not isinstance(value, bool):
            yield (*path, key)


def _texts(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        if isinstance(value, (dict, list)):
            yield from _texts(value, (*path, key))
        elif isinstance(value, str) and value:
            yield (*path, key)


def _at(node: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


def _edit_number(manifest: dict[str, Any], chance: random.Random) -> str:
    path = chance.choice(list(_numbers(manifest)))
    _at(manifest, path[:-1])[path[-1]] += chance.choice((-1, 1, 7, 1000))
    return f"change the number at {'.'.join(map(str, path))}"


def _edit_text(manifest: dict[str, Any], chance: random.Random) -> str:
    path = chance.choice(list(_texts(manifest)))
    text = _at(manifest, path)
    place = chance.randrange(len(text))
    letter = chance.choice([c for c in "0123456789abcdefxyz" if c != text[place]])
    _at(manifest, path[:-1])[path[-1]] = text[:place] + letter + text[place + 1 :]
    return f"change the text at {'.'.join(map(str, path))}"


def _edit_rows(manifest: dict[str, Any], chance: random.Random) -> str:
    """A consistent lie: a chunk and its table both say one row more."""
    tables = [table for table in manifest["tables"] if table.get("chunks") or "image" in manifest]
    table = chance.choice(tables)
    table["rows"] = table["rows"] + 1
    for chunk in table.get("chunks", [])[:1]:
        chunk["rows"] = chunk["rows"] + 1
    return f"one row more in {table['name']}"


def _drop_table(manifest: dict[str, Any], chance: random.Random) -> str:
    table = manifest["tables"].pop(chance.randrange(len(manifest["tables"])))
    return f"drop {table['name']}"


def _drop_chunk(manifest: dict[str, Any], chance: random.Random) -> str:
    tables = [table for table in manifest["tables"] if table.get("chunks")]
    if not tables:
        segment = manifest["image"]["segments"].pop()
        return f"drop the segment at {segment['offset']}"
    table = chance.choice(tables)
    table["chunks"].pop(chance.randrange(len(table["chunks"])))
    return f"drop a chunk of {table['name']}"


def _swap_names(manifest: dict[str, Any], chance: random.Random) -> str:
    holders = [chunk for table in manifest["tables"] for chunk in table.get("chunks", ())]
    if len(holders) < 2:
        return _drop_table(manifest, chance)
    one, other = chance.sample(holders, 2)
    one["object"], other["object"] = other["object"], one["object"]
    return "swap the names of two chunks"


def _edited(
    change: Callable[[dict[str, Any], random.Random], str], *, seal: bool
) -> Callable[[_Vault, random.Random], Damage]:
    return lambda vault, chance: _edit(vault, chance, change, seal=seal)


_KINDS: dict[str, Callable[[_Vault, random.Random], Damage]] = {
    "flip": _bytes_damage(_flip, "flip a bit of"),
    "flip again": _bytes_damage(_flip, "flip a bit of"),
    "truncate": _bytes_damage(_truncate, "truncate"),
    "append": _bytes_damage(_append, "append to"),
    "zero": _bytes_damage(_zero, "zero a part of"),
    "insert": _bytes_damage(_insert, "insert into"),
    "delete": _delete,
    "delete the newest manifest": _newest,
    "swap": _swap,
    "replace": _replace,
    "edit a number": _edited(_edit_number, seal=False),
    "edit a text": _edited(_edit_text, seal=False),
    "drop a table": _edited(_drop_table, seal=False),
    "swap names": _edited(_swap_names, seal=False),
    "edit rows, sealed": _edited(_edit_rows, seal=True),
    "drop a table, sealed": _edited(_drop_table, seal=True),
    "drop a chunk, sealed": _edited(_drop_chunk, seal=True),
    "swap names, sealed": _edited(_swap_names, seal=True),
}
