"""The part of `restore` that brings files back: its options, where they go, and how the plan and the outcome look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backup_pipeline.cli.orders import flags, ordered, spelled
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.units import duration, number, plural, size
from backup_pipeline.errors import BackupError, RestoreError, UsageError
from backup_pipeline.model.orders import FilesOrder
from backup_pipeline.model.outcome import failed

if TYPE_CHECKING:
    from backup_pipeline.operations.files import FilesPlan, FilesResult

ALL = "all"


def file_options() -> list[click.Option]:
    trees, *others = flags(FilesOrder)
    where = click.Option(
        ["--files-to"],
        metavar="DIR",
        help="The folder for the files, where --to is the database: both are restored.",
    )
    return [trees, where, *others]


def order_of(given: Mapping[str, Any]) -> FilesOrder:
    if given["overwrite"] and given["leave"]:
        raise UsageError(
            "files that differ are replaced or left, not both", remedy="give --overwrite or --leave"
        )
    if given["no_keep"] and not given["overwrite"]:
        raise UsageError("--no-keep says something about --overwrite", remedy="give both, or neither")
    everything = ALL in given["trees"]
    return ordered(FilesOrder, {**given, "trees": () if everything else given["trees"]})


def targets_of(to: str | None, given: Mapping[str, Any]) -> tuple[str | None, Path | None]:
    """(the database, the folder). With --files alone, --to is the folder."""
    files_to = given["files_to"]
    wanted = bool(given["trees"]) or files_to is not None
    if not wanted:
        said = [name for name, value in given.items() if value]
        if said:
            option = spelled(FilesOrder, said[0])
            raise UsageError(
                f"{option} is about files", remedy="name a file tree with --files (or --files all)"
            )
        if to is None:
            raise UsageError(
                "--to is missing: it is not said where to restore",
                remedy="--to URL for the database, --files TREE --to DIR for files",
            )
        if "://" not in to:
            # Not shown: a URL whose beginning was forgotten may hold a password.
            raise UsageError(
                "--to is no address of a database",
                remedy="--to postgresql://… or sqlite:///… for the database, --files TREE --to DIR for files",
            )
        return to, None
    if files_to is not None:
        return to, Path(files_to).expanduser()
    if to is None:
        raise UsageError(
            "--to is missing: it is not said where the files go", remedy="name a folder: --to DIR"
        )
    if "://" in to:
        raise UsageError(
            "--to is a database, and the files need a folder",
            remedy="name it with --files-to DIR to restore both, or with --to DIR to restore files only",
        )
    return None, Path(to).expanduser()


def failure_of(result: FilesResult) -> BackupError | None:
    """A file that could not be brought back makes the restore fail, also beside others that came back."""
    return failed(RestoreError, "not everything was brought back", result.findings)


def what(plan: FilesPlan) -> str:
    return f"{plural(plan.create, 'file')}, {size(plan.create_bytes)}"


def show_plan(page: Page, plan: FilesPlan) -> None:
    page.heading(f"Plan: restore files of {plan.system} {plan.backup_id}")
    differing = "replaced" if plan.order.overwrite else "left" if plan.order.leave else "refused"
    if plan.order.overwrite:
        differing += (
            "; the old ones are kept beside them" if plan.order.keep else "; the old ones are gone then"
        )
    page.facts(
        [
            ("to", plan.target),
            ("content", what(plan)),
            ("there already", f"{plural(plan.equal, 'file')}, left alone" if plan.equal else ""),
            ("differing", f"{plural(plan.differs, 'file')}: {differing}" if plan.differs else ""),
            ("free space", size(plan.free_bytes) if plan.free_bytes is not None else ""),
        ]
    )
    page.line()
    page.table(
        ("TREE", "CREATE", "SIZE", "EQUAL", "DIFFERS", "LEFT OUT", "FOLDER"),
        [
            (
                tree.tree,
                number(tree.create),
                size(tree.create_bytes),
                number(tree.equal),
                number(tree.differs),
                number(tree.left_out),
                tree.folder,
            )
            for tree in plan.trees
        ],
        right=(1, 2, 3, 4, 5),
    )
    for tree in plan.trees:
        for path in tree.examples.get("differs", ())[:10]:
            page.line(f"differs: {path}")
    page.findings(plan.findings)
    page.findings(plan.refused)
    page.line("nothing was written")


def show_result(page: Page, result: FilesResult) -> None:
    plan = result.plan
    page.heading(f"Restored files of {plan.system} {plan.backup_id} to {plan.target}")
    page.line(
        f"{plural(result.files, 'file')}, {size(result.bytes)}, {plural(result.links, 'link')} in {duration(result.seconds)}"
    )
    if plan.equal:
        page.line(f"{plural(plan.equal, 'file')} were there already and are left alone")
    if result.kept:
        page.line(
            f"{plural(result.kept, 'old file')} kept beside the new ones (*.before-restore-{plan.backup_id})"
        )
    page.findings(result.findings)
