"""Which servers are supported, and what is said of the others: here, so that backup, doctor and restore say the same."""

from __future__ import annotations

from collections.abc import Iterator

from backup_pipeline.errors import NotSupported
from backup_pipeline.model.findings import Finding

OLDEST, NEWEST = 13, 18


def outside(server_version: int) -> Iterator[Finding]:
    """What is to be said of a server of this version (`160014`) because of its age alone."""
    # Before version 10 the first two digits were the major version; all of them are too old.
    major = server_version // 10000
    if major < OLDEST:
        yield Finding.of("server-too-old", major=major, oldest=OLDEST, newest=NEWEST)
    elif major > NEWEST:
        yield Finding.of("server-too-new", major=major)


def require(server_version: int) -> None:
    """An older server lacks functions that the rules need: the error tells it before a query fails."""
    for finding in outside(server_version):
        if finding.severity == "error":
            raise NotSupported(finding.message, remedy=finding.remedy)
