"""The files of the demo's shop and blog: real PNG images and PDF invoices, small, and each one different."""

from __future__ import annotations

import hashlib
import random
import shutil
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Picture:
    """A file of a tree, as the row that names it knows it."""

    #: Relative to the tree.
    path: str
    sha256: str
    size: int


def product_pictures(folder: Path, numbers: range) -> Iterator[Picture]:
    """products/0042/front.png and so on, for the products of these numbers."""
    for number in numbers:
        yield write(folder, f"products/{number:04d}/front.png", png(number, 96))


def invoices(folder: Path, numbers: range) -> Iterator[Picture]:
    for number in numbers:
        yield write(folder, f"invoices/2026/{number:06d}.pdf", pdf(f"Invoice {number}"))


def write(folder: Path, path: str, content: bytes) -> Picture:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return Picture(path, hashlib.sha256(content).hexdigest(), len(content))


def png(seed: int, edge: int) -> bytes:
    """A picture that any viewer opens: two colours and some noise, another one for each seed."""
    chance = random.Random(seed)
    one, other = (bytes(chance.randrange(256) for _ in range(3)) for _ in range(2))
    rows = b"".join(
        b"\0" + b"".join(one if (x ^ y) & 16 else other for x in range(edge - 24)) + chance.randbytes(72)
        for y in range(edge)
    )
    header = struct.pack(">IIBBBBB", edge, edge, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in parts)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pdf(text: str) -> bytes:
    """One page with one line."""
    content = f"BT /F1 24 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
    )
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return (
        out
        + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (
            len(objects) + 1,
            table,
            len(objects) + 1,
            len(out),
        )
    )


def remove(folder: Path, path: str) -> int:
    """What a cleaning script does to a folder; says how many files are gone."""
    target = folder / path
    gone = sum(1 for found in target.rglob("*") if found.is_file())
    shutil.rmtree(target)
    return gone


def count(folder: Path) -> int:
    return sum(1 for found in folder.rglob("*") if found.is_file())
