"""A new key for an encrypted vault: the file, the paper copy, and what backup.yaml says of it.

The key file is the one that the public `age-keygen` writes, and `age -i` takes.
"""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import segno

from backup_pipeline.errors import AlreadyExists, ConfigError, UsageError, VaultError
from backup_pipeline.model.ids import timestamp
from backup_pipeline.vault import crypto


@dataclass(frozen=True, slots=True)
class NewKey:
    recipient: str
    file: Path
    paper: Path | None
    #: What backup.yaml says of it.
    configuration: str
    warnings: tuple[str, ...] = ()
    secret: str = field(default="", repr=False)


def new_key(path: Path, *, paper: Path | None = None, now: datetime, vault: str | None = None) -> NewKey:
    """`vault`: the address of the configured vault, where there is one: a key that lies in what it locks is lost with it."""
    path, paper = path.absolute(), paper.absolute() if paper else None
    for one in (path, paper):
        if one is not None:
            _refuse(one, vault)
    if paper is not None and paper.suffix not in (".svg", ".txt"):
        raise UsageError(f"{paper.name} is neither a .svg nor a .txt", remedy="name the paper copy so")
    secret, recipient = crypto.generate()
    text = f"# created: {timestamp(now)}\n# public key: {recipient}\n{secret}\n"
    _write(path, text)
    if paper is not None:
        _write(
            paper, _svg(secret, recipient, now) if paper.suffix == ".svg" else paper_text(secret, recipient)
        )
    return NewKey(recipient, path, paper, _configuration(recipient, path), tuple(_warnings(path)), secret)


def _configuration(recipient: str, path: Path) -> str:
    return (
        "encryption:\n"
        f"  recipients: [{recipient}]\n"
        "  # Only where backups are read (drills, restores), never needed to make one:\n"
        f"  # identity: ${{file:{path}}}\n"
    )


def _refuse(path: Path, vault: str | None) -> None:
    if path.exists() or path.is_symlink():
        raise AlreadyExists(
            f"{path} exists, and a key is never overwritten: what it locks would be lost",
            remedy="name another file with --out (and --paper)",
        )
    folder = path.parent
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", remedy="make it, or name another file with --out")
    mode = folder.stat().st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        raise ConfigError(
            f"others can write to {folder}: they could put another key in the place of yours",
            remedy=f"chmod go-w {folder}, or name a file in a folder of your own",
        )
    if vault and "://" not in vault and path.resolve().is_relative_to(Path(vault).resolve()):
        raise ConfigError(
            f"{path} lies in the vault that it would lock: who takes the one has the other",
            remedy="keep the key somewhere else, best not on this machine",
        )


def _warnings(path: Path) -> list[str]:
    found = [
        "without this key nobody can read the backups, you neither: print the paper copy, keep it where you keep other "
        "deeds, and move the file to where backups are restored; the machine that makes them does not need it"
    ]
    if any((parent / ".git").exists() for parent in path.parents):
        found.append(f"{path} lies in a git work tree: do not commit it")
    return found


def _write(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise AlreadyExists(f"{path} exists", remedy="name another file with --out (and --paper)") from None
    except OSError as error:
        raise VaultError(
            f"cannot write {path}: {error.strerror}", remedy="name another file with --out"
        ) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def paper_text(secret: str, recipient: str) -> str:
    """For paper, or a terminal: the QR code holds the secret key, the text is for typing it in."""
    drawn = io.StringIO()
    _code(secret).terminal(drawn, border=2, compact=True)
    return (
        "Key of an encrypted backup vault (age, https://age-encryption.org).\n"
        "Whoever has this can read every backup that was made for it. Without it nobody can.\n\n"
        f"{drawn.getvalue()}\n"
        f"{_grouped(secret)}\n\n"
        f"public key: {recipient}\n\n"
        "To use it, write the secret key in one line, without blanks, into a file key.txt; then\n"
        "    age -d -i key.txt SOMETHING.age > SOMETHING\n"
    )


def _grouped(secret: str) -> str:
    """In groups that a person can type without losing the place."""
    head, body = secret[:16], secret[16:]
    groups = [body[start : start + 6] for start in range(0, len(body), 6)]
    return "\n".join([head, " ".join(groups[:5]), " ".join(groups[5:])])


def _code(secret: str) -> segno.QRCode:
    return segno.make_qr(secret, error="q")


def _svg(secret: str, recipient: str, now: datetime) -> str:
    lines = [
        "Key of an encrypted backup vault (age, https://age-encryption.org)",
        f"made {timestamp(now)}",
        "",
        *_grouped(secret).splitlines(),
        "",
        "public key:",
        recipient,
        "",
        "In one line, without blanks, it is the file that `age -d -i FILE` takes.",
    ]
    texts = "".join(
        f'<text x="20" y="{330 + 20 * number}" font-family="monospace" font-size="13">{line}</text>'
        for number, line in enumerate(lines)
    )
    code = _code(secret).svg_inline(scale=6, border=2)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="700" height="580">'
        f'<rect width="700" height="580" fill="white"/><g transform="translate(20,10)">{code}</g>{texts}</svg>\n'
    )
