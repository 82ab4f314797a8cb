"""Names and values inside SQL, shell and Markdown, such that no content can break out."""

from __future__ import annotations

import hashlib
import re


def identifier(name: str) -> str:
    """SQL's double quotes. Inside them psql replaces no variables and sees no commands."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def literal(value: str) -> str:
    """An SQL string under standard_conforming_strings; psql replaces no variables in it."""
    doubled = value.replace("'", "''")
    return f"'{doubled}'"


def here_document(text: str) -> str:
    """`<<'END'` and the text: with its delimiter quoted, a shell looks at nothing in it. The delimiter depends on the
    text, so no name in it can be chosen to end it."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    length = 12
    while f"END_{digest[:length]}" in text:
        length += 1
    delimiter = f"END_{digest[:length]}"
    body = text if text.endswith("\n") else text + "\n"
    return f"<<'{delimiter}'\n{body}{delimiter}"


def fenced(language: str, text: str) -> str:
    """A block of Markdown whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def shown(name: str) -> str:
    """For people, inside a line of Markdown: what could end the line or the code span is replaced."""
    short = name if len(name) <= 120 else name[:120] + "…"
    plain = short.replace("`", "'")
    return "".join(character if character.isprintable() else "?" for character in plain)
