"""From the value of a column to the paths that it names, in every shape that is known (config.trees.ReferenceSettings).

Only text is looked at here. A value gives candidates, the likeliest first: whether one of them is a file of the backup
is asked by `file_references`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from backup_pipeline.config.trees import ReferenceSettings

#: A key of Rails' Active Storage, whose files on a disk are at ab/cd/abcd…
_SHARDED = re.compile(r"[0-9a-z]{24,64}").fullmatch
#: Nothing is put around it, and nothing in it is escaped.
_PLAIN = re.compile(r"[^\s/.%\\:][^%\\:]*(?<!\s)").fullmatch
#: path: it names a file of the tree · foreign: it names something elsewhere (another host, inline data) ·
#: unreadable: it is not what the setting says · absent: an object without the `field:` that should hold the path
Sort = Literal["path", "foreign", "unreadable", "absent"]


@dataclass(frozen=True, slots=True)
class Named:
    """One file that a value names."""

    sort: Sort
    #: Relative paths to look for, in this order.
    candidates: tuple[str, ...] = ()
    #: Why it is foreign or unreadable; or what it looked like.
    note: str = ""


def files_named(
    value: str | None, reference: ReferenceSettings, tree: str, prefix: str = ""
) -> Iterator[Named]:
    """`tree`: the name of the file tree; `prefix`: of its bucket. NULL and an empty value name nothing."""
    if value is None or not value.strip():
        return
    if reference.kind in ("path", "key") and not (reference.base or prefix) and _PLAIN(value):
        sharded = reference.kind == "key" and _SHARDED(value)
        # Nearly every value of nearly every table is its path.
        yield Named("path", (value, f"{value[:2]}/{value[2:4]}/{value}") if sharded else (value,))
        return
    if reference.kind != "json":
        yield _one(value, reference, tree, prefix)
        return
    try:
        texts = list(_in_json(value, reference.field))
    except (ValueError, RecursionError) as error:
        yield Named("unreadable", note=str(error).splitlines()[0][:100])
        return
    for text in texts:
        if text is None:
            yield Named("absent", note=f"its objects have no {reference.field!r}")
        elif text.strip():
            yield _one(text, reference, tree, prefix)


def _in_json(value: str, field: str) -> Iterator[str | None]:
    """An array of paths or of objects; a single one of either is taken, too. None: an object that lacks the field."""
    try:
        found = json.loads(value)
    except ValueError:
        raise ValueError("it is not JSON") from None
    for item in found if isinstance(found, list) else (found,):
        yield from _text_of(item, field)


def _text_of(item: Any, field: str) -> Iterator[str | None]:
    if item is None:
        return
    if isinstance(item, str):
        yield item
    elif isinstance(item, dict):
        if not field:
            raise ValueError("it holds objects, and no `field:` says which of their values is the path")
        inner: Any = item
        for part in field.split("."):
            if isinstance(inner, dict) and inner and part not in inner:
                yield None
                return
            inner = inner.get(part) if isinstance(inner, dict) else None
        if inner is not None and not isinstance(inner, str):
            raise ValueError(f"the value of {field!r} in it is not text")
        if inner is not None:
            yield inner
    else:
        raise ValueError("it holds something that is neither text nor an object")


def _one(text: str, reference: ReferenceSettings, tree: str, prefix: str) -> Named:
    text = text.strip()
    if text.startswith("data:"):
        return Named("foreign", note="inline data")
    if reference.base and text.startswith(reference.base):
        rest = text[len(reference.base) :]
        return _candidates(rest, tree, prefix, url=_is_url(reference.base) or reference.kind == "url")
    if _is_url(text):
        return _of_url(text, reference, tree, prefix)
    # A base that is not there: a relative path is one all the same, as long as it does not say another root.
    return _candidates(text, tree, prefix, url=reference.kind == "url")


def _is_url(text: str) -> bool:
    head, separator, _ = text.partition("://")
    return bool(separator) and head.isascii() and head.replace("+", "").replace("-", "").isalnum()


def _of_url(text: str, reference: ReferenceSettings, tree: str, prefix: str) -> Named:
    parts = urlsplit(text)
    if parts.scheme in ("s3", "gs", "r2"):
        return _candidates(parts.path, tree, prefix, url=False)
    if reference.base:
        base = urlsplit(reference.base)
        # http and https of one host are one place, and so are a host in two spellings.
        same = (parts.hostname, parts.port) == (base.hostname, base.port) or not base.hostname
        if not same:
            return Named("foreign", note=f"of {parts.hostname or parts.scheme}")
        below = parts.path.removeprefix(base.path) if parts.path.startswith(base.path) else None
        if below is None:
            return Named("foreign", note=f"not below {reference.base}")
        return _candidates(below, tree, prefix, url=True)
    if reference.kind != "url":
        return Named("foreign", note=f"of {parts.hostname or parts.scheme}")
    return _candidates(parts.path, tree, prefix, url=True)


def _candidates(text: str, tree: str, prefix: str, *, url: bool) -> Named:
    """The text as it stands is the likeliest; then, what systems commonly put around a path is taken off."""
    found: dict[str, None] = {}
    plain = text.split("#")[0].split("?")[0] if url else text
    decoded = unquote(plain, errors="surrogateescape")
    for form in (decoded, plain) if url else (plain, decoded):
        for slashed in dict.fromkeys((form, form.replace("\\", "/"))):
            for path in _without_roots(slashed, tree, prefix):
                found.setdefault(path)
    found.pop("", None)
    return Named("path", tuple(found))


def _without_roots(path: str, tree: str, prefix: str) -> Iterator[str]:
    while path.startswith("./"):
        path = path[2:]
    bare = path.lstrip("/")
    whole = f"{prefix.strip('/')}/"
    if whole != "/" and bare.startswith(whole):
        yield bare[len(whole) :]  # a key that begins with the prefix of its bucket is most likely a whole one
    yield path if not path.startswith("/") else bare
    # Served under the name of the tree: /media/orders/1.pdf of the tree `media`.
    for root in dict.fromkeys((f"{tree}/", "media/")):
        if path.startswith("/") and bare.startswith(root):
            yield bare[len(root) :]


def folded(path: str) -> str:
    """Equal for two paths that differ in case, or in how their letters are composed."""
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path.casefold())


def difference(path: str, other: str) -> str:
    """Why two paths with the same `folded` are not the same: "case" or "unicode" (composition)."""
    same = unicodedata.normalize("NFC", path) == unicodedata.normalize("NFC", other)
    return "unicode" if same else "case"
