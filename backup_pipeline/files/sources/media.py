"""What a file is, by its first and last bytes: a media type, and whether it is something that could run.

Never by its name: that is what the check `file_policy` compares with. Common types are told by rules of our own (a
microsecond; DXF, DWG, SVG and office files, which the libraries know badly or not at all), rare ones by `filetype`.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import PurePosixPath

#: How much of the beginning and of the end is worth handing in.
HEAD = 8192
TAIL = 8192

EMPTY = "application/x-empty"
UNKNOWN = "application/octet-stream"
TEXT = "text/plain"

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"\0\0\1\0", "image/x-icon"),
    (b"\0\0\0\x0cJXL ", "image/jxl"),
    (b"\xff\x0a", "image/jxl"),
    (b"\0\0\0\x0cjP  ", "image/jp2"),
    (b"AutoCAD Binary DXF", "image/vnd.dxf"),
    (b"ISO-10303-21;", "model/step"),
    (b"glTF", "model/gltf-binary"),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
    (b"\x7fELF", "application/x-executable"),
    (b"\0asm", "application/wasm"),
    (b"\xca\xfe\xba\xbe", "application/x-executable"),
    (b"\xfe\xed\xfa\xce", "application/x-executable"),
    (b"\xfe\xed\xfa\xcf", "application/x-executable"),
    (b"\xce\xfa\xed\xfe", "application/x-executable"),
    (b"\xcf\xfa\xed\xfe", "application/x-executable"),
    (b"#!", "text/x-script"),
    (b"\x1f\x8b", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "application/ogg"),
    (b"fLaC", "audio/flac"),
    (b"\x1a\x45\xdf\xa3", "video/x-matroska"),
    (b"{\\rtf", "application/rtf"),
    (b"%!PS", "application/postscript"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"OTTO", "font/otf"),
    (b"\0\1\0\0\0", "font/ttf"),
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"\x93NUMPY", "application/x-numpy"),
)
#: First byte → the rules that begin with it.
_BY_FIRST: dict[int, tuple[tuple[bytes, str], ...]] = {
    first: tuple(rule for rule in _STARTS if rule[0][0] == first)
    for first in {rule[0][0] for rule in _STARTS}
}
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1"), "image/heic"),
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    b"qt  ": "video/quicktime",
    **dict.fromkeys((b"M4A ", b"M4B "), "audio/mp4"),
    **dict.fromkeys((b"3gp4", b"3gp5", b"3gp6"), "video/3gpp"),
}
_DXF = re.compile(rb"\s*(?:999\r?\n[^\n]*\n\s*)*0\s*\r?\n\s*SECTION\s", re.IGNORECASE)
_DWG = re.compile(rb"AC(?:10[0-9]{2}|1\.[0-9]{2}|2\.[0-9]{2})")
_MARKUP = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*|<!doctype\s+svg[^\[>]*(?:\[.*?\]\s*)?>\s*)*<([a-z0-9:!?]+)",
    re.IGNORECASE | re.DOTALL,
)
_SCRIPT = re.compile(rb"<script\b|\bon[a-z]{3,20}\s*=|javascript:", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")

#: Type → what its files are called. The first match of a name decides nothing; it is only compared.
_NAMES: dict[str, str] = {
    "image/jpeg": "jpg jpeg jpe jfif",
    "image/png": "png apng",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/bmp": "bmp dib",
    "image/tiff": "tif tiff",
    "image/heic": "heic heif hif",
    "image/avif": "avif",
    "image/jxl": "jxl",
    "image/jp2": "jp2 j2k",
    "image/x-icon": "ico cur",
    "image/svg+xml": "svg",
    "image/vnd.dwg": "dwg",
    "image/vnd.dxf": "dxf",
    "image/vnd.adobe.photoshop": "psd psb",
    "application/pdf": "pdf ai",
    "application/postscript": "ps eps ai",
    "application/rtf": "rtf",
    "application/msword": "doc dot",
    "application/vnd.ms-excel": "xls xlt",
    "application/vnd.ms-powerpoint": "ppt pps",
    "application/x-ole-storage": "doc dot xls xlt ppt pps msg msi pub vsd db",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx docm dotx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx xlsm xltx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx pptm potx ppsx",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.graphics": "odg",
    "application/epub+zip": "epub",
    "application/java-archive": "jar war",
    "application/vnd.android.package-archive": "apk",
    "application/zip": "zip 3mf usdz kmz skp docx xlsx pptx odt ods epub jar",
    "application/gzip": "gz tgz svgz",
    "application/x-bzip2": "bz2",
    "application/x-xz": "xz",
    "application/zstd": "zst",
    "application/x-7z-compressed": "7z",
    "application/vnd.rar": "rar",
    "application/x-tar": "tar",
    "application/vnd.sqlite3": "db sqlite sqlite3",
    "video/mp4": "mp4 m4v",
    "video/quicktime": "mov qt",
    "video/x-matroska": "mkv webm mka",
    "video/x-msvideo": "avi",
    "video/3gpp": "3gp",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a m4b",
    "audio/flac": "flac",
    "audio/wav": "wav",
    "application/ogg": "ogg oga ogv opus",
    "model/step": "step stp",
    "model/stl": "stl",
    "model/gltf-binary": "glb",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "font/otf": "otf",
    "font/ttf": "ttf ttc",
    "text/html": "html htm xhtml",
    "application/xml": "xml svg gml kml gpx xsd xsl plist dae vtu html xhtml",
    "text/plain": "txt csv tsv json jsonl md rst log yaml yml toml ini cfg conf css js ts py sql env html htm xml svg stl "
    "obj mtl ply step stp igs iges geojson vcf ics eml po pot nc gcode srt vtt tex example",
    "application/x-executable": "elf so exe",
    "application/x-msdownload": "exe dll sys scr com",
    "application/x-numpy": "npy",
    "application/vnd.apache.parquet": "parquet",
    "text/x-script": "sh bash py pl rb js",
    "text/x-php": "php phtml",
}
_TYPES_OF: dict[str, frozenset[str]] = {
    suffix: frozenset(kind for kind, names in _NAMES.items() if suffix in names.split())
    for suffix in {one for names in _NAMES.values() for one in names.split()}
}
_RUNS = frozenset(
    {
        "application/x-executable",
        "application/x-msdownload",
        "application/wasm",
        "application/java-archive",
        "application/vnd.android.package-archive",
        "text/x-script",
        "text/x-php",
        "text/html",
    }
)


def detect(head: bytes, tail: bytes = b"") -> str:
    """`image/png`; with a remark behind it where the bytes are more than that: `image/gif; also=zip`,
    `image/svg+xml; also=script`. `tail`: the last bytes, where they are not in `head`."""
    if not head:
        return EMPTY
    kind = _plain(head, tail)
    also = _also(kind, head, tail)
    return f"{kind}; also={also}" if also else kind


def plain_type(kind: str) -> str:
    """Without the remark."""
    return kind.partition(";")[0]


def remark(kind: str) -> str:
    """What else the bytes are: script, zip, pdf; empty nearly always."""
    return kind.partition("; also=")[2]


def may_run(kind: str) -> bool:
    """A program, a script, or something that a browser would run: no business of an upload's."""
    return plain_type(kind) in _RUNS or remark(kind) in ("script", "php")


def types_named(path: str) -> frozenset[str]:
    """The types that a name with this suffix promises; empty where it promises nothing that is known."""
    return _TYPES_OF.get(suffix_of(path), frozenset())


@cache
def types_of_suffix(suffix: str) -> frozenset[str]:
    """`.dwg` → the types of files that are called so."""
    return _TYPES_OF.get(suffix.lstrip(".").lower(), frozenset())


def suffix_of(path: str) -> str:
    """Lower case, without the dot."""
    name = path.rpartition("/")[2]
    return PurePosixPath(name).suffix.lstrip(".").lower()


def _plain(head: bytes, tail: bytes) -> str:
    for start, kind in _BY_FIRST.get(head[0], ()):
        if head.startswith(start):
            return kind
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(head, tail)
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if head.startswith(b"RIFF"):
        kinds = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
        return kinds.get(head[8:12], UNKNOWN)
    if head.startswith(b"BM") and len(head) > 26 and head[6:10] == b"\0\0\0\0":
        return "image/bmp"
    if head.startswith(b"MZ") and len(head) > 64:
        return "application/x-msdownload"
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return _ole(head, tail)
    if _DWG.match(head) and not head[6:11].strip(b"\0\r\n\x01\x02\x03\x04\x05\x06"):
        return "image/vnd.dwg"
    if head[0] == 0xFF and len(head) > 1 and head[1] in (0xFB, 0xF3, 0xF2):
        return "audio/mpeg"
    if head[257:262] == b"ustar":
        return "application/x-tar"
    return _text(head) or _rare(head)


def _zip(head: bytes, tail: bytes) -> str:
    if head[30:38] == b"mimetype":
        said = head[38:138].partition(b"PK")[0]
        if re.fullmatch(rb"application/[a-zA-Z0-9.+-]{1,80}", said):
            return said.decode()
    # Names stand before each member and again at the end.
    both = head + tail
    office = "application/vnd.openxmlformats-officedocument."
    if b"[Content_Types].xml" in both:
        for folder, kind in (
            (b"word/", "wordprocessingml.document"),
            (b"xl/", "spreadsheetml.sheet"),
            (b"ppt/", "presentationml.presentation"),
        ):
            if folder in both:
                return office + kind
    if b"AndroidManifest.xml" in both:
        return "application/vnd.android.package-archive"
    if b"META-INF/MANIFEST.MF" in both:
        return "application/java-archive"
    return "application/zip"


def _ole(head: bytes, tail: bytes) -> str:
    both = head + tail
    for name, kind in (
        ("WordDocument", "application/msword"),
        ("Workbook", "application/vnd.ms-excel"),
        ("PowerPoint Document", "application/vnd.ms-powerpoint"),
    ):
        if name.encode("utf-16-le") in both:
            return kind
    return "application/x-ole-storage"


def _text(head: bytes) -> str:
    """Empty where it is no text."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return TEXT  # UTF-16 with a mark
    if _CONTROL.search(head):
        return ""
    text = head.removeprefix(b"\xef\xbb\xbf")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        # A letter that the end of the head cut through; or an older encoding, if it is mostly ASCII.
        if error.start < len(text) - 3 and sum(byte > 127 for byte in text) > len(text) // 3:
            return ""
    if b"<?php" in text:
        return "text/x-php"
    if _DXF.match(text):
        return "image/vnd.dxf"
    markup = _MARKUP.match(text)
    if markup is None:
        return "model/stl" if text.startswith(b"solid ") and b"facet" in text else TEXT
    name = markup[1].lower()
    if name in (b"svg", b"svg:svg"):
        return "image/svg+xml"
    if name in (b"!doctype", b"html", b"head", b"body", b"script", b"iframe"):
        return "text/html"
    return "application/xml" if text.lstrip().startswith(b"<?xml") else TEXT


def _rare(head: bytes) -> str:
    import filetype

    found = filetype.guess(head)
    return str(found.mime) if found is not None else UNKNOWN


def _also(kind: str, head: bytes, tail: bytes) -> str:
    """Bytes that are a second thing beside the first: how an upload filter is passed."""
    if kind == "image/svg+xml":
        return "script" if _SCRIPT.search(head) or _SCRIPT.search(tail) else ""
    if kind.startswith(("image/", "audio/", "video/")) or kind == "application/pdf":
        if b"<?php" in head or b"<?php" in tail:
            return "php"
        if kind != "application/pdf" and head.find(b"%PDF-", 0, 1100) > 0:
            return "pdf"
        if _ends_as_zip(tail or head):
            return "zip"
    return ""


def _ends_as_zip(tail: bytes) -> bool:
    """A whole end of a zip's directory, to the last byte: four bytes alone turn up by chance."""
    place = tail.rfind(b"PK\5\6")
    if place < 0 or len(tail) - place < 22:
        return False
    return int.from_bytes(tail[place + 20 : place + 22], "little") == len(tail) - place - 22
