"""A copy in a process that is killed with -9 at its n-th deed: `python -m … VAULT COPY N before|after`.

Deeds are what is written to the target: counting them meets every moment that there is. `N` of 0 kills at none.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from backup_pipeline.copies import transfer
from backup_pipeline.copies.replicate import replicate
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault


class Dying(LocalStore):
    deeds = 0
    last = 0
    after = False

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        Dying.deeds += 1
        now = Dying.deeds == Dying.last
        if now and not Dying.after:
            os.kill(os.getpid(), signal.SIGKILL)
        super().put(key, data, overwrite=overwrite)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)


def main(source: str, target: str, number: str, moment: str) -> None:
    Dying.last, Dying.after = int(number), moment == "after"
    # Every other object goes through a staged file, which a killed process leaves behind.
    transfer.IN_MEMORY = 200
    report = replicate(Vault(LocalStore(Path(source))), Vault(Dying(Path(target))), "shop")
    assert report.ok, report.findings
    print(Dying.deeds)


if __name__ == "__main__":
    main(*sys.argv[1:])
