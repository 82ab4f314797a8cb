"""What a file is, told by its bytes: the types of a design shop's uploads, and what hides behind their names."""

from __future__ import annotations

import io
import os
import struct
import time
import zipfile

import pytest

from backup_pipeline.files.sources.media import EMPTY, UNKNOWN, detect, may_run, remark, types_named

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + bytes(100)
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(range(1, 200)) * 20
GIF = b"GIF89a" + bytes(60)


def zipped(*names: str, **stored: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in stored.items():
            archive.writestr(name, data)
        for name in names:
            archive.writestr(name, b"x" * 50)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", EMPTY),
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (GIF, "image/gif"),
        (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(20), "image/webp"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "application/pdf"),
        (b"AC1032\0\0\0\0\0\x06\x01" + bytes(100), "image/vnd.dwg"),
        (b"AC1015\0\0\0\0\0\x06\x01" + bytes(100), "image/vnd.dwg"),
        (b"  0\r\nSECTION\r\n  2\r\nHEADER\r\n", "image/vnd.dxf"),
        (b"999\nmade by hand\n0\nSECTION\n", "image/vnd.dxf"),
        (b"AutoCAD Binary DXF\r\n\x1a\0", "image/vnd.dxf"),
        (b"0\nSECTOR\n", "text/plain"),
        (b"<?xml version='1.0'?>\n<!-- x -->\n<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b"<svg width='1'></svg>", "image/svg+xml"),
        (b"<?xml version='1.0'?><orders/>", "application/xml"),
        (b"<!DOCTYPE html><html>", "text/html"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "image/heic"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "video/mp4"),
        (b"SQLite format 3\0" + bytes(84), "application/vnd.sqlite3"),
        (b"ISO-10303-21;\nHEADER;\n", "model/step"),
        (zipped("[Content_Types].xml", "word/document.xml"), None),
        (zipped("a.txt"), "application/zip"),
        (
            zipped(mimetype=b"application/vnd.oasis.opendocument.text"),
            "application/vnd.oasis.opendocument.text",
        ),
        (b"#!/bin/sh\nrm -rf /\n", "text/x-script"),
        (b"\x7fELF\x02\x01\x01" + bytes(60), "application/x-executable"),
        (b"MZ\x90\0" + bytes(100), "application/x-msdownload"),
        ("Zoë, 12 €\n".encode(), "text/plain"),
        ("Größe\n".encode("latin-1") + b"plain ascii follows here", "text/plain"),
        ("Zoë".encode("utf-16"), "text/plain"),
        (bytes(range(256)), UNKNOWN),
        (b"\x01\x02\x03", UNKNOWN),
    ],
)
def test_a_type_is_told_by_the_bytes(data: bytes, kind: str | None) -> None:
    word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    assert detect(data) == (kind or word)


def test_a_letter_that_the_head_cuts_through_is_still_text() -> None:
    text = ("a" * 8191 + "ë").encode()
    assert detect(text[:8192]) == "text/plain"


@pytest.mark.parametrize(
    ("head", "tail", "kind"),
    [
        (GIF + b"<?php system($_GET['c']); ?>", b"", "image/gif; also=php"),
        (JPEG[:200], zipped("payload.class"), "image/jpeg; also=zip"),
        (GIF + zipped("a"), b"", "image/gif; also=zip"),
        (b"GIF89a" + b"\0" * 10 + b"%PDF-1.4", b"", "image/gif; also=pdf"),
        (b"<svg onload='alert(1)'/>", b"", "image/svg+xml; also=script"),
        (b"<svg><script>alert(1)</script></svg>", b"", "image/svg+xml; also=script"),
        (b"%PDF-1.4", zipped("a"), "application/pdf; also=zip"),
    ],
)
def test_a_second_file_inside_of_the_first_is_seen(head: bytes, tail: bytes, kind: str) -> None:
    assert detect(head, tail) == kind
    assert remark(kind)


def test_four_bytes_of_a_zip_that_turn_up_by_chance_are_no_zip() -> None:
    assert detect(JPEG, b"xxxPK\5\6" + bytes(30)) == "image/jpeg"


def test_what_could_run_is_known() -> None:
    assert may_run(detect(b"#!/usr/bin/python3\n"))
    assert may_run(detect(b"\n\n<?php echo 1;"))
    assert may_run(detect(b"<svg><script>1</script></svg>"))
    assert not may_run(detect(PNG))
    assert not may_run(detect(b"<svg/>"))


def test_names_promise_types() -> None:
    assert "image/vnd.dwg" in types_named("a/b/Plan.DWG")
    assert types_named("a/b/README") == frozenset()
    assert types_named("a.b/README") == frozenset()
    assert types_named("x.whatever") == frozenset()


def test_random_bytes_never_raise() -> None:
    for seed in range(500):
        data = os.urandom(seed)
        assert detect(data, data[-50:])
        assert detect(struct.pack("<I", seed) + data)


def test_it_takes_a_few_microseconds() -> None:
    heads = [PNG * 50, JPEG * 2, b"%PDF-1.4" + bytes(8000), b"a,b\n" * 2000]
    begin = time.process_time()
    for _ in range(250):
        for head in heads:
            detect(head[:8192], head[-8192:])
    assert (time.process_time() - begin) / 1000 < 200e-6
