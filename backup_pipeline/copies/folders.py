"""What lies in the folder of a system, by one listing: which backups, and which files each of them has.

Names are told apart by their purpose and not by their packing. So the same code copies plain and encrypted backups:
`manifest.json` and `manifest.json.age` are both the commit point.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from backup_pipeline.model import canonical
from backup_pipeline.model.ids import is_backup_id
from backup_pipeline.stores.base import Store
from backup_pipeline.vault import layout

_MANIFEST = re.compile(r"manifest\.json(\.age)?")
_SEAL = re.compile(r"manifest\.json(\.age)?\.sha256")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_WORKING = ("journal/",)
PROOFS = "proofs/"
#: Proofs of the content, wherever its bytes are: a drill, a judgement. Others speak of the bytes of one place.
OF_CONTENT = ("proofs/drill-", "proofs/judged-")


def is_manifest(name: str) -> bool:
    return _MANIFEST.fullmatch(name) is not None


def is_seal(name: str) -> bool:
    return _SEAL.fullmatch(name) is not None


def sealed(seal: bytes) -> dict[str, str]:
    """File → digest, as a seal names them: the manifest, and in an encrypted vault what lies beside it."""
    found = {}
    for line in seal.decode("utf-8", "replace").splitlines():
        digest, separator, name = line.partition("  ")
        if separator and _DIGEST.fullmatch(digest):
            found[name] = digest
    return found


def known_digests(manifest: bytes, seal: bytes) -> dict[str, str]:
    """Of what lies beside a manifest. A plain manifest names its RECOVER.md, an encrypted one's seal names everything."""
    found = {name: digest for name, digest in sealed(seal).items() if not is_manifest(name)}
    try:
        held = canonical.loads(manifest)
    except ValueError:
        return found
    digest = held.get("recover_sha256") if isinstance(held, dict) else None
    if isinstance(digest, str) and digest:
        found["RECOVER.md"] = digest
    return found


def fits(name: str, data: bytes, digests: Mapping[str, str]) -> bool:
    """Whether a file is the one that was written, as far as anything says which that was."""
    return name not in digests or hashlib.sha256(data).hexdigest() == digests[name]


@dataclass(frozen=True, slots=True)
class Folder:
    """One backup's: name → size, as `RECOVER.md`, `proofs/drill-….json`."""

    id: str
    files: Mapping[str, int]

    @property
    def manifest(self) -> str | None:
        return next((name for name in self.files if is_manifest(name)), None)

    @property
    def seal(self) -> str | None:
        return next((name for name in self.files if is_seal(name)), None)

    @property
    def is_backup(self) -> bool:
        return self.manifest is not None

    def before_the_manifest(self) -> Iterator[str]:
        """RECOVER.md, the outline, a pin, and files of a later version."""
        for name in sorted(self.files):
            working = name.startswith(_WORKING) or name.startswith(PROOFS)
            if not working and not is_manifest(name) and not is_seal(name):
                yield name

    def proofs_of_content(self) -> Iterator[str]:
        yield from sorted(name for name in self.files if name.startswith(OF_CONTENT))


@dataclass(frozen=True, slots=True)
class SystemFolder:
    system: str
    folders: Mapping[str, Folder] = field(default_factory=dict)
    #: Ids of backups that were removed on purpose.
    forgotten: frozenset[str] = frozenset()

    @property
    def ids(self) -> tuple[str, ...]:
        """Only what has a manifest is a backup."""
        return tuple(sorted(name for name, folder in self.folders.items() if folder.is_backup))

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Folders that never had a manifest: a seal or a proof would say that there was one."""
        return tuple(
            sorted(
                name
                for name, folder in self.folders.items()
                if not folder.is_backup
                and folder.seal is None
                and not any(held.startswith(PROOFS) for held in folder.files)
            )
        )

    def folder(self, identifier: str) -> Folder:
        return self.folders.get(identifier) or Folder(identifier, {})


def look(store: Store, system: str) -> SystemFolder:
    """One listing for any number of backups."""
    files: dict[str, dict[str, int]] = {}
    forgotten: set[str] = set()
    above = layout.forgotten_prefix(system)
    for stat in store.list(f"{system}/"):
        if stat.key.startswith(above):
            if stat.key.endswith(".json"):
                forgotten.add(stat.key.removeprefix(above).removesuffix(".json"))
            continue
        identifier, _, name = stat.key.removeprefix(f"{system}/").partition("/")
        if name and is_backup_id(identifier):
            files.setdefault(identifier, {})[name] = stat.size
    return SystemFolder(
        system, {name: Folder(name, held) for name, held in files.items()}, frozenset(forgotten)
    )
