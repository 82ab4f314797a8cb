"""Parents before children, and otherwise in the order of their names: how pending migrations are listed."""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable, Mapping, Sequence

from backup_pipeline.errors import ConfigError


def in_order(parents: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """All keys, each after those of its parents that are keys as well."""
    waiting = {name: {parent for parent in above if parent in parents} for name, above in parents.items()}
    children: dict[str, list[str]] = {name: [] for name in parents}
    for name, above in waiting.items():
        for parent in above:
            children[parent].append(name)
    ready = [name for name, above in waiting.items() if not above]
    heapq.heapify(ready)
    done: list[str] = []
    while ready:
        name = heapq.heappop(ready)
        done.append(name)
        for child in children[name]:
            waiting[child].discard(name)
            if not waiting[child]:
                heapq.heappush(ready, child)
    if len(done) < len(waiting):
        circle = sorted(set(waiting) - set(done))
        raise ConfigError(
            f"the migrations depend on each other in a circle: {', '.join(circle[:6])}",
            remedy="mend their dependencies; the migration tool refuses them as well",
        )
    return tuple(done)


def ahead(applied: Sequence[str], known: Container[str]) -> tuple[str, ...]:
    """What was applied after the last one that the folder knows. Names that it does not know and that came before are old
    ones, which a squash took the place of: they stay in the table of the tool for ever."""
    after: list[str] = []
    for name in applied:
        if name in known:
            after.clear()
        else:
            after.append(name)
    return tuple(after)


def with_ancestors(names: Iterable[str], parents: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [name for name in names if name in parents]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(parent for parent in parents[name] if parent in parents)
    return found
