"""A prune in a process that is killed with -9 at its n-th deed: `python -m … VAULT N before|after LAST`.

Killing after some time mostly meets the interpreter while it starts; counting what is written and deleted meets every
moment that there is. `N` of 0 kills at none.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.retention.prune import Conditions, Rules, prune
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault

#: After all the nights of `handmade`.
NOW = datetime(2026, 12, 20, tzinfo=UTC)


class Dying(LocalStore):
    deeds = 0
    last = 0
    after = False

    def _count(self, deed: Callable[[], None]) -> None:
        Dying.deeds += 1
        now = Dying.deeds == Dying.last
        if now and not Dying.after:
            os.kill(os.getpid(), signal.SIGKILL)
        deed()
        if now:
            os.kill(os.getpid(), signal.SIGKILL)

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        self._count(lambda: LocalStore.put(self, key, data, overwrite=overwrite))

    def delete(self, key: str, *, durable: bool = True) -> None:
        self._count(lambda: LocalStore.delete(self, key, durable=durable))


def main(folder: str, number: str, moment: str, last: str) -> None:
    Dying.last, Dying.after = int(number), moment == "after"
    rules = {name: Rules(RetentionSettings(last=int(last))) for name in ("shop", "office")}
    prune(Vault(Dying(Path(folder))), Conditions(rules, timedelta(0), NOW))
    print(Dying.deeds)


if __name__ == "__main__":
    main(*sys.argv[1:])
