"""Which worker gets which test: the slowest tests first, dealt to the workers in turn.

`slowest.tsv` holds the tests that took longest. `python -m backup_pipeline_tests.harness.dealing .durations.xml` writes it
anew from the record of `make test`.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

LIST = Path(__file__).with_name("slowest.tsv")
#: A shorter test is not in the list.
LEAST = 5.0

Test = TypeVar("Test")


def recorded() -> dict[str, float]:
    """The seconds of the slowest tests, by `module::test`."""
    lines = (line.split("\t") for line in LIST.read_text(encoding="utf-8").splitlines())
    return {name: float(seconds) for seconds, name in lines}


def name_of(node: str) -> str:
    """`backup_pipeline_tests/demo/test_demo.py::test_x` is `demo.test_demo::test_x`."""
    file, _, test = node.partition("::")
    return f"{file.removeprefix('backup_pipeline_tests/').removesuffix('.py').replace('/', '.')}::{test}"


def shares(number: int, workers: int) -> Iterator[int]:
    """How many neighbours in the list xdist's `worksteal` hands to each worker at the beginning."""
    for left in range(workers, 0, -1):
        share = number // left
        yield share
        number -= share


def deal(slow: Sequence[Test], quick: Sequence[Test], workers: int) -> list[Test]:
    """All tests in such an order that the share of each worker begins with its part of the slow ones."""
    dealt: list[Test] = []
    rest = iter(quick)
    for number, share in enumerate(shares(len(slow) + len(quick), workers), 1):
        hand = slow[workers - number :: workers]
        dealt += [*hand, *islice(rest, share - len(hand))]
    return dealt


def main(record: str) -> None:
    found = [
        (
            float(case.get("time", 0)),
            f"{re.sub('^backup_pipeline_tests.', '', case.get('classname', ''))}::{case.get('name')}",
        )
        for case in ET.parse(record).iter("testcase")
    ]
    slowest = sorted(((seconds, name) for seconds, name in found if seconds >= LEAST), reverse=True)
    LIST.write_text("".join(f"{seconds:.0f}\t{name}\n" for seconds, name in slowest), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
