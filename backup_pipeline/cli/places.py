"""Places that hold backups, on the command line: the vault (`vault`) and the copies, by the names that the configuration
gives them. The one way in which a verb is pointed at one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backup_pipeline.cli.call import Call

if TYPE_CHECKING:
    from backup_pipeline.operations import Site


def from_option(what: str = "Read it straight from this copy, for a vault that is gone.") -> click.Option:
    return click.Option(["--from", "place"], metavar="NAME", help=what)


def copy_option(what: str = "Of this copy, instead of the vault.") -> click.Option:
    return click.Option(["--copy", "place"], metavar="NAME", help=what)


def unsigned_option() -> click.Option:
    return click.Option(
        ["--unsigned"],
        is_flag=True,
        help="Take it although none of `signers:` signed it as it is: one from before you signed, or that you know.",
    )


def site_at(call: Call, place: str | None, *, unsigned: bool = False) -> Site:
    """The site as seen from a place, for one command that reads: each manifest is read once."""
    if place is not None:
        call.site.settings.place(place)
    return call.site.at(place, unsigned=unsigned).one_look()
