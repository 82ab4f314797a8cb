"""What a message says: which system, what failed, why, what to do and where to look. It holds no secret."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from backup_pipeline.config import redact

#: A message is for reading on a telephone.
_LONGEST = 1500


@dataclass(frozen=True, slots=True)
class Message:
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class FailedCheck:
    name: str
    severity: str
    description: str
    remedies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """A job that failed, or the checks that did, or both."""

    #: A system, or `vault` for what all systems share.
    subject: str
    #: `backup_shop`, `backup`, `watch`.
    job: str
    #: Set when the job itself failed.
    message: str = ""
    remedy: str = ""
    checks: tuple[FailedCheck, ...] = ()


def write(failed: Failed, secrets: Iterable[str], *, look_at: str = "") -> Message:
    secrets = tuple(secrets)
    if failed.message:
        title = f"{failed.subject}: {failed.job} failed"
    else:
        names = ", ".join(dict.fromkeys(check.name for check in failed.checks))
        verb = "failed" if any(check.severity == "error" for check in failed.checks) else "warns"
        title = f"{failed.subject}: {'check' if len(failed.checks) == 1 else 'checks'} {names} {verb}"
    lines = [f"System:  {failed.subject}"]
    if failed.message:
        lines += [f"Failed:  {failed.job}", f"Why:     {failed.message}"]
    if failed.remedy:
        lines.append(f"Remedy:  {failed.remedy}")
    for check in failed.checks:
        lines.append(f"Check:   {check.name} ({check.severity}): {check.description}")
        lines += [f"Remedy:  {remedy}" for remedy in check.remedies]
    body = redact("\n".join(lines), secrets)
    if len(body) > _LONGEST:
        body = body[:_LONGEST] + " …"
    return Message(redact(f"[backup] {title}", secrets), f"{body}\n\n{look_at}".rstrip())
