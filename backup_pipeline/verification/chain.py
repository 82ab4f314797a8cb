"""The history of a system: each manifest names the digest of the one before it.

An edited, swapped or removed manifest breaks the link above it, even with a new seal. A predecessor that was removed on
purpose is not a break: `forgotten` has the records of `prune`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Link
from backup_pipeline.model.vault_records import Forgotten, Newest

REMEDY = (
    "compare with another copy of the vault: either a backup was removed or edited, or this one was; "
    "`verify all` shows which ones still hold"
)


@dataclass(frozen=True, slots=True)
class Bridge:
    """The records of forgotten backups between a manifest and the next one below it that is there."""

    #: As the one above each of them names it.
    passed: frozenset[Link] = frozenset()
    #: Where it ends: a manifest that is there; None where the history began with a forgotten one.
    end: Link | None = None
    #: What is neither there nor recorded, below a record.
    gap: Link | None = None


def bridge(
    previous: Link | None, digests: Mapping[str, str], record: Callable[[str], Forgotten | None]
) -> Bridge:
    """Walk down from `previous` over what was forgotten on purpose. Reads records only where a manifest is gone."""
    passed: set[Link] = set()
    link = previous
    while link is not None and link.id not in digests:
        found = record(link.id)
        if found is None or found.manifest_sha256 not in ("", link.sha256):
            return Bridge(frozenset(passed), None, link if passed else None)
        passed.add(link)
        if found.previous is not None and found.previous.id >= link.id:
            return Bridge(frozenset(passed), None, found.previous)
        link = found.previous
    return Bridge(frozenset(passed), link)


def judge_bridge(identifier: str, crossed: Bridge, digests: Mapping[str, str]) -> Iterator[Finding]:
    """What is behind the forgotten ones that a manifest follows."""
    if not crossed.passed:
        return
    lowest = min(link.id for link in crossed.passed)
    if crossed.gap is not None:
        yield _broken(f"follows forgotten ones down to {lowest}, and {crossed.gap.id} before that is missing")
        return
    if crossed.end is not None and digests[crossed.end.id] != crossed.end.sha256:
        yield _broken(
            f"follows, over forgotten ones, another {crossed.end.id} than the one in the vault: that one was altered"
        )
    below = crossed.end.id if crossed.end else ""
    if between := [other for other in digests if below < other < lowest]:
        yield _broken(
            f"follows forgotten ones down to {lowest}, and {max(between)} is not among those before it"
        )


def gaps(previous: Mapping[str, str | None], forgotten: Collection[str]) -> tuple[str, ...]:
    """Backups that others follow, and that are neither there nor forgotten on purpose. `previous`: id → the one that
    it follows."""
    wanted = {below for below in previous.values() if below is not None}
    return tuple(sorted(wanted - previous.keys() - set(forgotten)))


def judge_newest(
    newest: Newest | None, digests: Mapping[str, str], forgotten: Callable[[str], bool]
) -> Iterator[Finding]:
    """The newest backup may be taken away, folder and all. This record alone misses it."""
    if newest is None:
        return
    if newest.id not in digests:
        if not forgotten(newest.id):
            yield Finding.of("newest-missing/verify", identifier=newest.id)
    elif digests[newest.id] and digests[newest.id] != newest.manifest_sha256:
        yield Finding.of("newest-altered", identifier=newest.id)


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
    return Finding.of("chain-broken", what=what)


def neighbours(identifiers: tuple[str, ...], identifier: str) -> tuple[str | None, str | None]:
    """The backups right below and right above one, by age."""
    below = max((other for other in identifiers if other < identifier), default=None)
    above = min((other for other in identifiers if other > identifier), default=None)
    return below, above
