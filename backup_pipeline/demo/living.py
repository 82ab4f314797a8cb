"""The second half of the demo: rows come back into a shop and a blog that live on, are taken away again, and come back.

The commands are those that a person types, each in a process of its own. What the databases answer is compared after each one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.demo.blog_sqlite import AUTHORS, Blog
from backup_pipeline.demo.shop_postgres import DAMAGE, Shop
from backup_pipeline.errors import ProofFailed

Say = Callable[[str], None]
Facts = dict[str, str]

_PROGRAM = (sys.executable, "-c", "from backup_pipeline.cli import program; program()")


@dataclass(frozen=True, slots=True)
class Life:
    """What a living system said of itself: before the damage, after it, and after each command."""

    before: Facts
    damaged: Facts
    merged: Facts
    undone: Facts
    again: Facts

    def demand(self, lost: Sequence[str], made: Sequence[str], undone: Facts) -> None:
        """What was `lost` is back, what was `made` since is still there, undo and redo did what they say."""
        for name, wanted, found in (
            *((name, self.before[name], self.merged[name]) for name in lost),
            *((name, self.damaged[name], self.merged[name]) for name in made),
            *((name, undone[name], self.undone[name]) for name in undone),
            *((name, self.merged[name], self.again[name]) for name in self.merged),
        ):
            if wanted != found:
                raise ProofFailed(
                    f"{name}: {found}, and it should be {wanted}", remedy="this is a bug: please report it"
                )


@dataclass(frozen=True, slots=True)
class Living:
    folder: Path
    say: Say

    def shop(self, shop: Shop) -> Life:
        """The restored shop is the living one from now on."""
        (self.folder / "database-url").write_text(shop.url, encoding="utf-8")
        before = shop.living_facts()
        shop.live_on()
        damaged = shop.living_facts()
        self.say("9. Tuesday. The restored shop is open. A script goes wrong while 40 customers order:")
        for statement in DAMAGE:
            self.say(f"      {statement};")
        self.say("   The shop stays open. The plan comes first, and writes nothing:")
        for line in self.typed("restore shop --live --only sales --dry-run"):
            self.say(f"      {line}")
        self.say("   Prices are put back, and then the customers with all that was theirs:")
        self.brief("restore shop --live --only products --update --yes")
        repriced = shop.living_facts()
        self.brief("restore shop --live --only sales --yes")
        merged = shop.living_facts()
        self.say("   Was it right? Take it back, and do it again:")
        self.brief("undo shop latest --yes")
        undone = shop.living_facts()
        self.brief("undo shop latest --yes")
        life = Life(before, damaged, merged, undone, shop.living_facts())
        self.show(life)
        life.demand(shop.LOST, shop.MADE, repriced)
        return life

    def blog(self, blog: Blog) -> Life:
        before = blog.living_facts()
        blog.live_on()
        damaged = blog.living_facts()
        self.say(
            f"10. On the blog, {AUTHORS[-1]}'s account was deleted with her posts and pictures, and Linus got her number:"
        )
        self.brief("restore blog --live --tenant authors:3 --with-files --yes")
        merged = blog.living_facts()
        self.brief("undo blog latest --yes")
        undone = blog.living_facts()
        self.brief("undo blog latest --yes")
        life = Life(before, damaged, merged, undone, blog.living_facts())
        self.show(life)
        # Files stay: an undo takes rows back.
        rows = {name: value for name, value in damaged.items() if name != "pictures"}
        life.demand(blog.LOST, blog.MADE, rows)
        return life

    def show(self, life: Life) -> None:
        columns = ("before", "damaged", "merged", "undone", "done again")
        facts = (life.before, life.damaged, life.merged, life.undone, life.again)
        table(self.say, dict(zip(columns, facts, strict=True)))

    def brief(self, line: str) -> None:
        """The command, and the count of its rows."""
        command, *answer = self.typed(line)
        self.say(f"      {command}  →  {next(line for line in answer if line[0].isdigit())}")

    def typed(self, line: str) -> list[str]:
        """The command, then the table of its plan. It is typed in the demo's folder, where it finds backup.yaml."""
        ended = subprocess.run(
            [*_PROGRAM, *line.split()],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise ProofFailed(
                f"`backup-pipeline {line}` ended with exit code {ended.returncode}: {ended.stderr.strip()}",
                remedy=f"run it in {self.folder}",
            )
        plan = ended.stdout.split("\n\n")[1]
        return [f"$ backup-pipeline {line}", *plan.splitlines()]


def move_media(source: Path, shop: Shop) -> None:
    """The restored files take the place of the broken ones."""
    shutil.rmtree(shop.media)
    source.rename(shop.media)


def table(say: Say, columns: Mapping[str, Facts]) -> None:
    say(f"      {'':<18} " + " ".join(f"{name:>14}" for name in columns))
    for name in next(iter(columns.values())):
        say(f"      {name:<18} " + " ".join(f"{facts[name]:>14}" for facts in columns.values()))
