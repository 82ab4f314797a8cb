"""What a row says that its file is, in the spellings that applications write: a digest in hexadecimal or base64, a length."""

from __future__ import annotations

import base64
import binascii
import re

from backup_pipeline.model.files import DIGESTS

#: How many bytes each has.
_LENGTHS = {"sha256": 32, **DIGESTS}
NAMES = {"sha256": "SHA-256", "sha1": "SHA-1", "md5": "MD5", "size": "length"}
_HEX = re.compile(r"[0-9a-f]+")
_WRITTEN = re.compile(rb"[A-Za-z0-9+/_=:\\-]*")
_URL_SAFE = str.maketrans("-_", "+/")


def text_of(value: object) -> str | None:
    if value is None:
        return None
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def said(value: object, what: str) -> str | int | None:
    """A digest as lower-case hexadecimal digits, a length as a number; None where the value is neither."""
    return _number(value) if what == "size" else _digest(value, what)


def kind_of(value: object) -> str | None:
    """Which digest a value could be."""
    return next((name for name in _LENGTHS if _digest(value, name) is not None), None)


def _number(value: object) -> int | None:
    try:
        return int(text_of(value) or "")
    except ValueError:
        return None


def _digest(value: object, algorithm: str) -> str | None:
    length = _LENGTHS[algorithm]
    # The bytes themselves; the text of a shorter digest may be as long, and is text.
    if isinstance(value, bytes) and len(value) == length and not _WRITTEN.fullmatch(value):
        return value.hex()
    text = (text_of(value) or "").strip().strip('"')
    for prefix in (f"{algorithm}:", f"{algorithm}-", "\\x"):
        text = text.removeprefix(prefix)
    if len(text) == 2 * length and _HEX.fullmatch(text.lower()):
        return text.lower()
    bare = text.rstrip("=")
    if len(bare) != -(-length * 4 // 3):
        return None
    try:
        raw = base64.b64decode(bare.translate(_URL_SAFE) + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == length else None
