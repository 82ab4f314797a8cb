"""Text for people: lines, aligned columns, findings. Nothing is cut off, at any width of the terminal: an id that
lost its end cannot be copied, and a log has no width at all."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import click

from backup_pipeline.cli.units import plural
from backup_pipeline.model.findings import Finding

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_WORDS = {"error": "ERROR", "warning": "WARN", "info": "note"}
_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


def clean(text: object) -> str:
    """Names come from databases: one with a line break or an escape sequence must not draw on a terminal."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))


def one_line(text: object) -> str:
    """Drivers break their messages into lines; here one message is one line."""
    return clean(re.sub(r"\s*\n\s*", " ", str(text)))


def width(text: str) -> int:
    """Columns on a terminal: wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )


class Page:
    def __init__(self, *, colour: bool = False) -> None:
        self.colour = colour
        self.lines: list[str] = []

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    def style(self, text: str, colour: str | None = None, *, bold: bool = False, dim: bool = False) -> str:
        return click.style(text, fg=colour, bold=bold or None, dim=dim or None) if self.colour else text

    def line(self, text: str = "") -> None:
        self.lines.append(text)

    def heading(self, text: str) -> None:
        if self.lines:
            self.line()
        self.line(self.style(clean(text), bold=True))

    def facts(self, pairs: Iterable[tuple[str, object]], *, indent: int = 0) -> None:
        """Name and value, one below the other; values that are empty are left out."""
        shown = [(name, clean(value)) for name, value in pairs if value not in (None, "")]
        longest = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            self.line(f"{'':{indent}}{self.style(f'{name:<{longest}}', dim=True)}  {value}")

    def table(
        self,
        headers: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        right: Iterable[int] = (),
        colours: Mapping[str, str] | None = None,
    ) -> None:
        """Columns as wide as what is in them; those in `right` are flush right. `colours`: of a row, by its first cell."""
        cells = [[clean(cell) for cell in row] for row in rows]
        widths = [
            max(width(row[column]) for row in [list(headers), *cells]) for column in range(len(headers))
        ]
        flush = set(right)

        def laid(row: Sequence[str]) -> str:
            parts = []
            for column, cell in enumerate(row):
                blanks = " " * (widths[column] - width(cell))
                parts.append(blanks + cell if column in flush else cell + blanks)
            return "  ".join(parts).rstrip()

        self.line(self.style(laid(headers), dim=True))
        for row in cells:
            self.line(self.style(laid(row), (colours or {}).get(row[0])))

    def findings(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            word = self.style(f"{_WORDS[finding.severity]:<5}", _COLOURS[finding.severity], bold=True)
            about = finding.table or finding.tree
            table = f"{clean(about)}: " if about and about not in finding.message else ""
            self.line(f"{word} {clean(finding.code)}: {table}{one_line(finding.message)}")
            for example in finding.examples[:5]:
                self.line(f"        {clean(example)}")
            if len(finding.examples) > 5:
                self.line(
                    f"        and {plural(len(finding.examples) - 5, 'more example')} (--json shows all)"
                )
            # A remedy may be several statements, ready to paste: its lines stay lines.
            for index, part in enumerate(finding.remedy.splitlines()):
                self.line(f"      {'→ ' if index == 0 else '  '}{clean(part)}")

    def verdict(self, good: bool, text: str) -> None:
        self.line(self.style(text, "green" if good else "red", bold=True))
