"""Acknowledgements: findings that a person accepted with `ack SYSTEM CODE`. An accepted finding is shown as information, with the reason.

The record lies in the vault, so that every host that looks at the vault knows it. An ack covers what was wrong when it
was given: the same code on another table is told. Where a code tells of events (a run that failed, a row without its file), it
covers those events and no later one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from backup_pipeline.errors import ConfigError, Damaged
from backup_pipeline.health.losses import subject
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.model.outcome import Outcome
from backup_pipeline.model.vault_records import Ack, Acks
from backup_pipeline.vault import layout, private
from backup_pipeline.vault.vault import Vault

#: This host remembers what it wrote, and accepts on this host: an ack in the vault would be the word of who set it back.
SET_BACK = "set-back"
#: Findings that count or date something: another text is another event.
EVENTS = frozenset(
    {
        "last-run-failed",
        "drill-failed",
        "verify-failed",
        "verify-quick-failed",
        "file-missing",
        "file-size-differs",
        "file-content-differs",
        "dangling-reference",
        "objects-missing-before",
        "set-back-before",
    }
)


def read(vault: Vault, system: str, now: datetime) -> tuple[Ack, ...]:
    """Those that hold now. A record that cannot be read accepts nothing: what is wrong is then told."""
    data = private.get(vault, layout.acks_key(system))
    if data is None:
        return ()
    try:
        if vault.signing.signers and (
            vault.signing.judge(vault.store, _signature_key(system), _signed(system, data)) != "signed"
        ):
            return ()
        found = canonical.decode(Acks, data, what=layout.acks_key(system)).acks
        return tuple(one for one in found if not one.until or now < parse_timestamp(one.until))
    except Damaged:
        return ()


def accept(vault: Vault, system: str, ack: Ack, findings: Sequence[Finding]) -> Ack:
    """Accept the findings of the code of `ack`. The new ack replaces acks of the same code; acks that have ended are dropped."""
    if ack.code == SET_BACK and vault.remembered is not None:
        ids = vault.ids(system)
        vault.remembered.keep(system, vault.backup(system, ids[-1]).link if ids else None)
        return replace(ack, until="")
    made = replace(
        ack,
        about=tuple(sorted({subject(one) for one in findings})) or ("",),
        told=tuple(sorted({_told(one) for one in findings})) if ack.code in EVENTS else (),
    )
    others = (one for one in read(vault, system, parse_timestamp(ack.at)) if one.code != ack.code)
    _write(vault, system, (*others, made))
    return made


def withdraw(vault: Vault, system: str, code: str, now: datetime) -> bool:
    """False where nothing of that code was accepted."""
    held = read(vault, system, now)
    kept = tuple(one for one in held if one.code != code)
    if len(kept) < len(held):
        _write(vault, system, kept)
    return len(kept) < len(held)


def _write(vault: Vault, system: str, acks: tuple[Ack, ...]) -> None:
    data = canonical.encode(Acks(acks))
    signature = vault.signing.sign(_signed(system, data))
    if signature is None and vault.signing.signers:
        raise ConfigError(
            "`signers:` says who signs, and this host has no key: what it accepts would not count",
            remedy="do it on a host with a `signing:` key",
        )
    if signature is not None:
        vault.store.put(_signature_key(system), signature, overwrite=True)
    private.put(vault, layout.acks_key(system), data)


def _signature_key(system: str) -> str:
    return layout.acks_key(system) + layout.SIGNATURE


def _signed(system: str, acks: bytes) -> bytes:
    """With the system: the acks of one must not count for another."""
    return f"{system}\n".encode() + acks


def ack_of(finding: Finding, acks: Sequence[Ack]) -> Ack | None:
    """The ack that covers this finding."""
    for one in acks:
        same = one.code == finding.code and subject(finding) in one.about
        if same and not finding.marked("acked_by_host") and (not one.told or _told(finding) in one.told):
            return one
    return None


def _told(finding: Finding) -> str:
    text = "\n".join((finding.message, *sorted(finding.examples)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def applied(findings: Iterable[Finding], acks: Sequence[Ack]) -> tuple[Finding, ...]:
    """The same findings; those that are accepted are information, and say so."""
    return tuple(_as_accepted(one, ack_of(one, acks)) for one in findings)


def _as_accepted(finding: Finding, ack: Ack | None) -> Finding:
    if ack is None or finding.severity == "info":
        return finding
    until = f" until {ack.until[:10]}" if ack.until else ""
    because = f": {ack.because}" if ack.because else ""
    return replace(finding, severity="info", message=f"{finding.message} (accepted{until}{because})")


def to_outcome(outcome: Outcome, acks: Sequence[Ack]) -> Outcome:
    """Accepted findings are notes of a check: they do not fail it."""
    after = applied(outcome.findings, acks)
    accepted = tuple(new for old, new in zip(outcome.findings, after, strict=True) if new is not old)
    if not accepted:
        return outcome
    rest = tuple(one for one in after if one not in accepted)
    return replace(outcome, findings=rest, notes=(*outcome.notes, *accepted))
