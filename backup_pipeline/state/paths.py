"""Every path below the state folder, each with an example. No other module builds one.

In the examples `.backup-pipeline` is the state folder. A vault or a copy has the name that `place_name` gives to its address.
Below the folders of `known` and `dagster`, `vault/known.py` and Dagster have files of their own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def place_name(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def acts(state: Path) -> Path:
    """The log of acts: .backup-pipeline/acts"""
    return state / "acts"


def acts_of(state: Path, month: str) -> Path:
    """A line for each act: .backup-pipeline/acts/2026-11.jsonl"""
    return acts(state) / f"{month}.jsonl"


def alerts(state: Path) -> Path:
    """Messages on their way: .backup-pipeline/alerts"""
    return state / "alerts"


def letter(state: Path, name: str) -> Path:
    """One message: .backup-pipeline/alerts/20261129T020013Z-1f2e3d4c.json"""
    return alerts(state) / f"{name}.json"


def alerts_lock(state: Path) -> Path:
    """The process that sends holds its lock: .backup-pipeline/alerts/.lock"""
    return alerts(state) / ".lock"


def dagster(state: Path) -> Path:
    """Dagster's home, unless $DAGSTER_HOME names another: .backup-pipeline/dagster"""
    return state / "dagster"


def inventory(state: Path, system: str) -> Path:
    """The tables as they were last seen: .backup-pipeline/inventory/shop.json"""
    return state / "inventory" / f"{system}.json"


def known(state: Path, address: str) -> Path:
    """What this host remembers of an encrypted vault: .backup-pipeline/known/20b47fe82477fec9"""
    return state / "known" / place_name(address)


def measured(state: Path) -> Path:
    """How full each place was, a measurement a day: .backup-pipeline/storage.json"""
    return state / "storage.json"


def newest(state: Path, address: str) -> Path:
    """The backups that this host wrote last into a vault, a file a system: .backup-pipeline/newest/20b47fe82477fec9"""
    return state / "newest" / place_name(address)


def place(state: Path, address: str) -> Path:
    """A note that there is a vault at this address: .backup-pipeline/places/20b47fe82477fec9"""
    return state / "places" / place_name(address)


def read_back(state: Path, system: str, copy: str) -> Path:
    """How far a copy was read back: .backup-pipeline/reading-back/shop-offsite.json"""
    return state / "reading-back" / f"{system}-{copy}.json"


def staging(state: Path) -> Path:
    """Objects are made here before they are sent: .backup-pipeline/staging"""
    return state / "staging"
