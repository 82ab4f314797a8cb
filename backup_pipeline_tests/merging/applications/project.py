"""Runs what an application of the tests does, in a process of its own: each has its own settings."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from psycopg.conninfo import conninfo_to_dict

#: Subject → what the application itself tells about it, by names and without keys.
Facts = dict[str, list[Any]]


def act(application: str, url: str, *acts: str) -> Facts:
    """`acts` are functions of the module `acts` of an application. What the application tells after them."""
    module = f"backup_pipeline_tests.merging.applications.{application}.acts"
    done = subprocess.run(
        [sys.executable, "-m", module, url, *acts], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


class NoMigrations(dict[str, None]):
    """Tables are made from the models: hundreds of migrations end in the same tables."""

    def __contains__(self, app: object) -> bool:
        return True

    def __missing__(self, app: str) -> None:
        return None


def django_database(url: str) -> dict[str, Any]:
    """An address as Django's settings spell it."""
    if url.startswith("sqlite:///"):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": url.removeprefix("sqlite:///")}
    parts = conninfo_to_dict(url)
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    return {
        "ENGINE": "django.db.backends.postgresql",
        **{name: parts.get(part, "") for name, part in names.items()},
    }


def together(old: Facts, new: Facts) -> Facts:
    """What is expected of a merge: all that is new, and of all that was in the backup its old facts."""

    def name(fact: Any) -> str:
        return json.dumps(fact[0] if isinstance(fact, list) else fact)

    return {
        about: list(
            ({name(one): one for one in new[about]} | {name(one): one for one in old[about]}).values()
        )
        for about in old
    }


def differing(found: Facts, expected: Facts) -> dict[str, tuple[list[Any], list[Any]]]:
    """Subject → what is missing, and what is too much."""
    return {
        about: (missing, more)
        for about, facts in expected.items()
        for missing, more in [
            (
                [one for one in facts if one not in found[about]],
                [one for one in found[about] if one not in facts],
            )
        ]
        if missing or more or len(facts) != len(found[about])
    }
