"""`prune`: what is kept and why, what goes, and the going. One prune of a vault at a time, beside any number of backups.

1. take the census: every backup of every system, also of a system outside of the configuration
2. decide, system by system; a system whose backups have collapsed, or whose clock is not to be trusted, is left alone
3. forget: record, manifest, the rest (`forgetting`)
4. mark what nothing names, and delete what was unnamed for the grace time (`sweep`)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import moment_of, parse_timestamp, timestamp
from backup_pipeline.model.orders import PruneOrder
from backup_pipeline.model.overview import Signature
from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.model.vault_records import Accepted
from backup_pipeline.retention import census as counting
from backup_pipeline.retention.anomalies import AHEAD, SILENT, Anomaly, anomalies
from backup_pipeline.retention.census import Census, Known, Locked
from backup_pipeline.retention.forgetting import (
    Denied,
    Doomed,
    finish,
    forget,
    forget_restore,
    sweep_abandoned,
    who,
)
from backup_pipeline.retention.policy import Decision, decide
from backup_pipeline.retention.sweep import NOTHING, Sweep, Swept, Volume
from backup_pipeline.vault import layout, lock, records, signing
from backup_pipeline.vault.committing import read_garbage
from backup_pipeline.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says of one system."""

    policy: RetentionSettings
    zone: str = "UTC"
    #: Without a full backup for so long, something is wrong with the clock or with the backups.
    silent_after: timedelta = SILENT


@dataclass(frozen=True, slots=True)
class Planned:
    """One backup, and what becomes of it."""

    system: str
    id: str
    kind: str
    scope: str
    age_seconds: float
    #: Plain bytes; and the bytes of its objects, shared ones included.
    bytes: int
    stored: int
    keep: bool
    reasons: tuple[str, ...]
    #: Why it is on the list of what is never removed; see `policy.PROMISES`.
    promises: tuple[str, ...] = ()
    pinned: bool = False
    #: unsigned · wrong, where it counts as made by another hand.
    foreign: Signature | None = None
    #: Bytes that only this one names: what forgetting it alone would free.
    own: int = 0
    #: Restores that can be undone as long as it stays.
    restores: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SystemPlan:
    system: str
    backups: tuple[Planned, ...]
    #: There is a `retention:` for it; without one everything stays.
    rules: bool = True
    #: Why nothing is forgotten at all.
    frozen: tuple[Anomaly, ...] = ()

    @property
    def forgotten(self) -> tuple[Planned, ...]:
        return tuple(one for one in self.backups if not one.keep)


@dataclass(frozen=True, slots=True)
class PruneReport:
    address: str
    dry_run: bool
    systems: tuple[SystemPlan, ...]
    #: Backups that are gone now (none in a dry run).
    forgotten: tuple[str, ...] = ()
    #: What is freed at once, what becomes free when the grace time is over, and when the first of that is.
    freed: Volume = NOTHING
    waiting: Volume = NOTHING
    #: Of what waits: what would go now if no backup were running.
    spared: Volume = NOTHING
    next_at: str | None = None
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0

    @property
    def frozen(self) -> tuple[SystemPlan, ...]:
        return tuple(one for one in self.systems if one.frozen)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What holds for a prune of the vault, whichever systems the order names."""

    #: Of the systems that have some.
    rules: Mapping[str, Rules]
    grace: timedelta
    now: datetime
    locked: Locked = lambda _system, _id: ""


@dataclass(frozen=True)
class _Work:
    """A prune under way."""

    vault: Vault
    terms: Conditions
    order: PruneOrder
    denied: Denied = field(default_factory=Denied)

    @property
    def now(self) -> datetime:
        return self.terms.now

    def chooses(self, system: str) -> bool:
        return self.order.system in (None, system)


def prune(
    vault: Vault,
    terms: Conditions,
    order: PruneOrder = PruneOrder(),  # noqa: B008 - it is frozen
    listener: Listener = silent,
) -> PruneReport:
    """Backups of the system of the order are forgotten, or of all systems. Objects are those of the whole vault."""
    began = time.monotonic()
    counting.demand_a_vault(vault.store)
    work = _Work(vault, terms, order)
    if order.dry_run:
        census, plans = _plan(work)
        stays = census.named_by(_staying(plans))
        swept = _sweep(work, census, stays, None)
        return _report(work, plans, (), swept, began)
    with lock.hold_when_free(vault.store, layout.PRUNE_LOCK, "prune", patience=order.patience) as held:
        census, plans = _plan(work)
        _accept(work, plans)
        for system in census.systems:
            finish(vault, system, work.denied)
            sweep_abandoned(vault, system, terms.now, work.denied)
        for one in census.restores:
            if one.left_over:
                forget_restore(vault, one.system, one.id, work.denied)
        gone = _forget(work, census, plans, held, listener)
        stays = census.named_by(lambda system, name: (system, name) not in gone)
        listener(Advance("verify", "objects", note="looking for what nothing names"))
        swept = _sweep(work, census, stays, held)
    return _report(work, plans, sorted(gone), swept, began)


def _sweep(work: _Work, census: Census, stays: bytearray, held: lock.Held | None) -> Swept:
    """Ages are measured by the clock: one that was set back measures none, and what an earlier prune wrote stays."""
    last_seen = _last_seen(work.vault)
    set_back = last_seen is not None and last_seen > work.now + AHEAD and not work.order.despite_anomaly
    sweep = Sweep(work.vault, census, work.terms.grace, work.now, work.denied)
    return sweep.run(stays, held, only_look=set_back)


def _last_seen(vault: Vault) -> datetime | None:
    """When an earlier prune was, as it wrote."""
    garbage = read_garbage(vault.store)
    return parse_timestamp(garbage.at) if garbage.at else None


def _plan(work: _Work) -> tuple[Census, tuple[SystemPlan, ...]]:
    census = counting.take(work.vault, work.terms.locked)
    last_seen = _last_seen(work.vault)
    users = _users(census)
    plans = tuple(
        _plan_system(work, census, system, known, last_seen, users)
        for system, known in census.systems.items()
        if known
    )
    return census, plans


def _plan_system(
    work: _Work,
    census: Census,
    system: str,
    known: tuple[Known, ...],
    last_seen: datetime | None,
    users: bytearray,
) -> SystemPlan:
    candidates = [one.candidate for one in known]
    chosen = work.chooses(system)
    rules = work.terms.rules.get(system) if chosen else None
    frozen: tuple[Anomaly, ...] = ()
    if rules is None:
        why = "no `retention:` of the configuration is for it" if chosen else "another system was chosen"
        decisions = tuple(Decision(one.id, True, (why,)) for one in known)
    else:
        decisions = decide(candidates, rules.policy, rules.zone, work.now)
        frozen = anomalies(
            candidates,
            work.now,
            accepted=records.accepted(work.vault.store, system),
            last_seen=last_seen,
            silent_after=rules.silent_after,
        )
        if frozen and not work.order.despite_anomaly:
            decisions = tuple(
                one if one.keep else Decision(one.id, True, ("frozen: see the findings",))
                for one in decisions
            )
    planned = tuple(
        Planned(
            system=system,
            id=one.id,
            kind=one.candidate.kind,
            scope=one.candidate.scope,
            age_seconds=(work.now - moment_of(one.id)).total_seconds(),
            bytes=one.candidate.bytes,
            stored=one.stored,
            keep=decision.keep,
            reasons=decision.reasons,
            promises=decision.promises,
            pinned=one.candidate.pinned is not None,
            foreign=one.candidate.foreign,
            own=sum(census.sizes[number] for number in census.objects_of(system, one) if users[number] == 1),
            restores=tuple(restore.id for restore in census.restores_of(system, one.id)),
        )
        for one, decision in zip(known, decisions, strict=True)
    )
    return SystemPlan(system, planned, rules is not None or not chosen, frozen)


def _users(census: Census) -> bytearray:
    """How many backups name each object, with the restores that live with them; 2 stands for more."""
    users = bytearray(len(census.sizes))
    for system, backups in census.systems.items():
        for known in backups:
            for number in census.objects_of(system, known):
                users[number] = min(2, users[number] + 1)
    return users


def _staying(plans: Iterable[SystemPlan]) -> Callable[[str, str], bool]:
    going = {(one.system, one.id) for plan in plans for one in plan.forgotten}
    return lambda system, name: (system, name) not in going


def _accept(work: _Work, plans: Iterable[SystemPlan]) -> None:
    """A person who prunes despite a collapse has looked at it: it is not brought up again. What is of a time that
    has not
    come is not accepted: every collapse until then would be."""
    for plan in plans:
        if not work.order.despite_anomaly or all(one.of_the_clock for one in plan.frozen):
            continue
        seen = [one.id for one in plan.backups if moment_of(one.id) <= work.now + AHEAD]
        if seen:
            accepted = Accepted(seen[-1], timestamp(work.now), who())
            records.accept(work.vault.store, plan.system, accepted)


def _forget(
    work: _Work, census: Census, plans: Iterable[SystemPlan], held: lock.Held, listener: Listener
) -> set[tuple[str, str]]:
    gone: set[tuple[str, str]] = set()
    known = {(system, one.id): one for system, backups in census.systems.items() for one in backups}
    for plan in plans:
        for one in plan.forgotten:
            if work.denied.hopeless("manifests"):
                return gone
            listener(Advance("verify", plan.system, note=f"forgetting {one.id}"))
            # The process that took our lock over may have forgotten backups on which this plan relied.
            held.confirm()
            about = known[plan.system, one.id]
            why = f"prune: {', '.join(one.reasons)}"
            doomed = Doomed(plan.system, one.id, about.manifest_sha256, about.previous, why, one.restores)
            if forget(work.vault, doomed, now=work.now, denied=work.denied):
                gone.add((plan.system, one.id))
    return gone


def _report(
    work: _Work,
    plans: tuple[SystemPlan, ...],
    gone: Iterable[tuple[str, str]],
    swept: Swept,
    began: float,
) -> PruneReport:
    return PruneReport(
        address=work.vault.store.address,
        dry_run=work.order.dry_run,
        systems=tuple(plan for plan in plans if work.chooses(plan.system)),
        forgotten=tuple(f"{system} {name}" for system, name in gone),
        freed=swept.deleted,
        waiting=swept.waiting,
        spared=swept.spared,
        next_at=timestamp(swept.next_at) if swept.next_at else None,
        findings=tuple(_findings(work, plans, swept)),
        seconds=time.monotonic() - began,
    )


def _frozen(work: _Work, plan: SystemPlan) -> Finding:
    if work.order.despite_anomaly:
        why = "; ".join(one.message for one in plan.frozen)
        return Finding.of("anomaly-accepted", system=plan.system, why=why)
    return frozen_finding(plan.system, plan.frozen)


def frozen_finding(system: str, frozen: Sequence[Anomaly]) -> Finding:
    """Also told by `status`: what stops a prune is wrong before the prune comes round."""
    why = "; ".join(one.message for one in frozen)
    remedies = []
    if any(one.of_the_clock for one in frozen):
        remedies.append("see whether this machine's clock is right")
    if not all(one.of_the_clock for one in frozen):
        remedies.append(f"look at the newest backups (`backup-pipeline list {system}`)")
    return Finding.of("prune-frozen", system=system, why=why, advice=", and ".join(remedies))


def _strange_pins(work: _Work, plans: Iterable[SystemPlan]) -> Iterable[Finding]:
    """A pin with a wrong digit in it would keep nothing, without a word. Rules of the whole file name backups of
    any system."""
    there: dict[str, set[str]] = {plan.system: {one.id for one in plan.backups} for plan in plans}
    wanted: dict[str, set[str]] = {}
    for system, rules in work.terms.rules.items():
        for identifier in rules.policy.pin:
            wanted.setdefault(identifier, set()).add(system)
    for identifier, systems in sorted(wanted.items()):
        if any(identifier in there.get(system, ()) for system in systems):
            continue
        # One that cannot be read has no place in a plan, and is there all the same.
        if not any(identifier in work.vault.ids(system) for system in systems):
            yield Finding.of("pin-of-nothing", identifier=identifier, systems=" or ".join(sorted(systems)))


def _findings(work: _Work, plans: Sequence[SystemPlan], swept: Swept) -> Iterable[Finding]:
    for plan in plans:
        if plan.frozen:
            yield _frozen(work, plan)
        yield from (signing.finding(one.system, one.id, one.foreign) for one in plan.backups if one.foreign)
    yield from _strange_pins(work, plans)
    yield from swept.findings
    yield from work.denied.findings()
    if swept.foreign:
        yield Finding.of("foreign-object", foreign=swept.foreign)
