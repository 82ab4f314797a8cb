"""The history of a system: each manifest names the digest of the one before it.

Whoever edits, swaps or removes a manifest breaks the link above it, even if he makes a new seal. A
predecessor that was removed on purpose is not a break: `forgotten` says which ones were (what `prune` writes down).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from backup_pipeline.errors import Damaged
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Link

REMEDY = (
    "compare with another copy of the vault: either a backup was removed or edited, or this one was; "
    "`verify all` shows which ones still hold"
)


def previous_of(data: bytes) -> Link | None:
    """The link in a manifest, whatever else is in it. None also where it cannot be read: that is that one's trouble."""
    try:
        return canonical.decode(_Linked, data, what="a manifest").previous
    except Damaged:
        return None


@dataclass(frozen=True, slots=True)
class _Linked:
    previous: Link | None = None


def judge_link(
    identifier: str,
    previous: Link | None,
    digests: Mapping[str, str],
    forgotten: frozenset[Link] = frozenset(),
) -> Iterator[Finding]:
    """The link from one manifest down. `digests`: id → SHA-256 of every manifest that the system has."""
    if previous is None:
        if older := sorted(other for other in digests if other < identifier):
            yield _broken(f"names no backup before it, and there is {older[-1]}")
        return
    if previous.id >= identifier:
        yield _broken(f"names {previous.id} as the one before it, which is not older")
    elif previous.id not in digests:
        if previous not in forgotten:
            yield _broken(f"follows {previous.id}, which is not in the vault any more")
    elif digests[previous.id] != previous.sha256:
        yield _broken(f"follows another {previous.id} than the one in the vault: that one was altered")
    between = [other for other in digests if previous.id < other < identifier]
    if between:
        yield _broken(f"follows {previous.id}, and {max(between)} lies between them")


def judge_link_above(identifier: str, digest: str, above: str, link: Link | None) -> Iterator[Finding]:
    """The link that the next manifest (`above`) has down to this one."""
    if link is not None and link.id == identifier and link.sha256 != digest:
        yield _broken(f"is not the manifest that {above} was written after: it was altered since")


def _broken(what: str) -> Finding:
    return Finding("error", "chain-broken", f"the manifest {what}", remedy=REMEDY)


def neighbours(identifiers: tuple[str, ...], identifier: str) -> tuple[str | None, str | None]:
    """The backups right below and right above one, by age."""
    below = max((other for other in identifiers if other < identifier), default=None)
    above = min((other for other in identifiers if other > identifier), default=None)
    return below, above
