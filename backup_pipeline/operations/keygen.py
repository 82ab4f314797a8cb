"""A new key for an encrypted vault, or to sign backups: the file, the paper copy, and what backup.yaml says of it.

The paper of a signing key has its public half, and so has that of an encryption key where the configuration knows signers:
who stands before an empty machine must know whose backups to trust. The key file is the one that the public `age-keygen` writes, and `age -i` takes.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import segno

from backup_pipeline.errors import AlreadyExists, ConfigError, UsageError, VaultError
from backup_pipeline.model.ids import backup_id, timestamp
from backup_pipeline.model.orders import KeygenOrder
from backup_pipeline.operations.site import Site
from backup_pipeline.vault import crypto, signing


@dataclass(frozen=True, slots=True)
class NewKey:
    recipient: str
    file: Path
    paper: Path | None
    #: What backup.yaml says of it.
    configuration: str
    warnings: tuple[str, ...] = ()
    #: For a terminal or a printer, the secret included; "" of a signing key.
    printed: str = field(default="", repr=False)


def keygen(site: Site | None, order: KeygenOrder, now: datetime) -> NewKey:
    """Without a site: there is no configuration yet."""
    path = order.out or Path("backup-signing.pem" if order.signing else "backup-key.txt")
    path, paper = _places(path, order.paper, _vault(site))
    if order.signing:
        return _signing_key(path, paper, now)
    signers = site.settings.signers if site else ()
    secret, recipient = crypto.generate()
    text = f"# created: {timestamp(now)}\n# public key: {recipient}\n{secret}\n"
    _write(path, text)
    printed = _paper_text(secret, recipient, signers)
    if paper is not None:
        _write(paper, _svg(secret, recipient, now, signers) if paper.suffix == ".svg" else printed)
    return NewKey(recipient, path, paper, _configuration(recipient, path), tuple(_warnings(path)), printed)


def _vault(site: Site | None) -> str | None:
    """The address of the configured vault, where there is one: a key that lies in what it locks is lost with it."""
    with suppress(ConfigError):
        return site.vault.store.address if site else None
    return None


def _signing_key(path: Path, paper: Path | None, now: datetime) -> NewKey:
    """The private half stays on the host that makes backups."""
    secret, public = signing.generate()
    _write(path, secret)
    if paper is not None:
        lines = _signers_text((public,)).splitlines()
        drawn = paper.suffix == ".svg"
        _write(
            paper,
            _drawing(public, [f"made {timestamp(now)}", "", *lines]) if drawn else _code_and(public, lines),
        )
    return NewKey(
        public,
        path,
        paper,
        f"signing: ${{file:{path}}}\nsigners: [{public}]\nsigned_since: {backup_id(now)}\n",
        (
            "every host that makes, copies or prunes backups of this vault needs a key of its own, and all public keys stand "
            "in `signers:` of each host, of those that restore too",
            *_warnings(path)[1:],
        ),
    )


def _places(path: Path, paper: Path | None, vault: str | None) -> tuple[Path, Path | None]:
    path, paper = path.absolute(), paper.absolute() if paper else None
    for one in (path, paper):
        if one is not None:
            _refuse(one, vault)
    if paper is not None and paper.suffix not in (".svg", ".txt"):
        raise UsageError(f"{paper.name} is neither a .svg nor a .txt", remedy="name the paper copy so")
    return path, paper


def _signers_text(signers: tuple[str, ...]) -> str:
    if not signers:
        return ""
    keys = "".join(f"    {one}\n" for one in signers)
    return (
        "Backups are signed by the owner of one of these public keys:\n"
        f"{keys}"
        "Before you trust a backup, in its folder, with the key between the two lines of a PEM file as signer.pem\n"
        "(-----BEGIN PUBLIC KEY-----, -----END PUBLIC KEY-----), and SEAL for its file that ends in .sha256:\n"
        "    openssl pkeyutl -verify -pubin -inkey signer.pem -rawin -in SEAL -sigfile seal.sig\n"
        "    sha256sum -c SEAL\n"
    )


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
        "without this key no person can read the backups, you neither: print the paper copy, keep it where you keep other "
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


def _code_and(content: str, lines: Iterable[str]) -> str:
    drawn = io.StringIO()
    _code(content).terminal(drawn, border=2, compact=True)
    return f"{drawn.getvalue()}\n" + "".join(f"{line}\n" for line in lines)


def _paper_text(secret: str, recipient: str, signers: tuple[str, ...] = ()) -> str:
    """For paper, or a terminal: the QR code holds the secret key, the text is for typing it in."""
    drawn = io.StringIO()
    _code(secret).terminal(drawn, border=2, compact=True)
    return (
        "Key of an encrypted backup vault (age, https://age-encryption.org).\n"
        "A person with this key can read every backup that was made for it. Without it no person can.\n\n"
        f"{drawn.getvalue()}\n"
        f"{_grouped(secret)}\n\n"
        f"public key: {recipient}\n\n"
        "To use it, write the secret key in one line, without blanks, into a file key.txt; then\n"
        "    age -d -i key.txt SOMETHING.age > SOMETHING\n"
    ) + ("\n" + _signers_text(signers) if signers else "")


def _grouped(secret: str) -> str:
    """In groups that a person can type without losing the place."""
    head, body = secret[:16], secret[16:]
    groups = [body[start : start + 6] for start in range(0, len(body), 6)]
    return "\n".join([head, " ".join(groups[:5]), " ".join(groups[5:])])


def _code(secret: str) -> segno.QRCode:
    return segno.make_qr(secret, error="q")


def _svg(secret: str, recipient: str, now: datetime, signers: tuple[str, ...]) -> str:
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
        *_signers_text(signers).splitlines(),
    ]
    return _drawing(secret, lines)


def _drawing(content: str, lines: Sequence[str]) -> str:
    texts = "".join(
        f'<text x="20" y="{330 + 20 * number}" font-family="monospace" font-size="13">{line}</text>'
        for number, line in enumerate(lines)
    )
    code = _code(content).svg_inline(scale=6, border=2)
    height = 360 + 20 * len(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="{height}">'
        f'<rect width="900" height="{height}" fill="white"/><g transform="translate(20,10)">{code}</g>{texts}</svg>\n'
    )
