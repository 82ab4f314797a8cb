"""Who writes to the store, where backups are signed: forges what only the holder of the key can make.

The attacker knows the format and every file of the vault, and has no private key.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_pipeline.model import canonical
from backup_pipeline.model.ids import backup_id
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import commit, export
from backup_pipeline_tests.attacks.test_store_writer import backups, codes, folder, name_in, say, shop, status
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.damage import rewrite

__all__ = ["shop"]

FORMAT = Path(__file__).resolve().parents[2] / "backup_pipeline" / "vault" / "FORMAT.md"


def configure(shop: Folder, lines: str) -> None:
    config = shop.path / "backup.yaml"
    text = re.sub(r"(?m)^(signing|signers|signed_since|copies|encryption):.*\n", "", config.read_text())
    config.write_text(lines + text)


def sign(shop: Folder, *, since: datetime | None = None, more: str = "") -> str:
    """Configure a new signing key: the public key."""
    made = shop.good("keygen", "--signing", "--paper", "signers.txt", "--json").data
    assert (shop.path / "backup-signing.pem").stat().st_mode & 0o777 == 0o600
    lines: str = made["configuration"]
    if since is not None:
        lines = re.sub(r"signed_since: .*", f"signed_since: {since:%Y-%m-%d}", lines)
    configure(shop, more + lines)
    return str(made["recipient"])


def signatures(shop: Folder, *more: str) -> dict[str, str]:
    listed = shop.run("list", "shop", "--json", *more).document["data"]["backups"]
    return {one["id"]: one["signature"] for one in listed}


def reseal(shop: Folder, identifier: str, data: bytes) -> None:
    rewrite(folder(shop, identifier) / "manifest.json", data)
    seal = f"{hashlib.sha256(data).hexdigest()}  manifest.json\n"
    rewrite(folder(shop, identifier) / "manifest.json.sha256", seal.encode())


def refused(shop: Folder, which: str, words: str) -> None:
    for verb in (
        ("restore", "shop", which, "--to", shop.restored),
        ("query", "shop", which, "select 1"),
        ("drill", "shop", which, "--no-record"),
    ):
        ended = shop.run(*verb)
        assert (ended.code, words in ended.stderr) == (7, True), (verb, str(ended))
    assert not (shop.path / "restored.db").exists()


@pytest.mark.rule("C7")
def test_a_forged_backup_is_refused_where_it_is_known_who_signs(shop: Folder) -> None:
    """A backup of the attacker's own, with a seal and a chain that fit, was the newest one for every verb."""
    (old,) = backups(shop, "old")
    sign(shop, since=datetime.now(UTC) + timedelta(days=2))
    # From before: readable, and said; not trusted unless a person says so.
    assert signatures(shop) == {old: "unsigned"}
    assert not status(shop) & {"unsigned", "signature-wrong"}
    refused(shop, old, "is not signed")
    shop.good("restore", "shop", old, "--to", shop.restored, "--unsigned")
    (shop.path / "restored.db").unlink()
    (good,) = backups(shop, "good")
    assert signatures(shop)[good] == "signed"
    assert name_in(shop, good) == "good"
    # Forged from the real one, with another content: a new id, and the signature of the old one.
    forged = backup_id(datetime.now(UTC))
    shutil.copytree(folder(shop, good), folder(shop, forged))
    manifest = json.loads((folder(shop, good) / "manifest.json").read_bytes())
    link = {
        "id": good,
        "sha256": hashlib.sha256((folder(shop, good) / "manifest.json").read_bytes()).hexdigest(),
    }
    reseal(shop, forged, canonical.encode({**manifest, "id": forged, "previous": link, "kind": "imported"}))
    assert signatures(shop)[forged] == "wrong"
    assert "signature-wrong" in status(shop)
    assert "signature-wrong" in codes(shop.run("verify", "shop", forged, "--json"))
    refused(shop, "latest", "has a wrong signature")
    # Stripped of it.
    (folder(shop, forged) / "seal.sig").unlink()
    refused(shop, "latest", "is not signed")
    configure(shop, sign_lines(shop).replace("signed_since", "signed_since: 2026-01-01 #"))
    assert "unsigned" in status(shop)
    # The next backup builds on nothing of it.
    say(shop, "next")
    after = shop.backup()
    assert signatures(shop)[after] == "signed"
    made = json.loads((folder(shop, after) / "manifest.json").read_bytes())
    assert all("reused_from" not in segment for segment in made["image"]["segments"])


def sign_lines(shop: Folder) -> str:
    text = (shop.path / "backup.yaml").read_text()
    return "".join(re.findall(r"(?m)^(?:signing|signers|signed_since):.*\n", text))


@pytest.mark.rule("C8")
def test_a_forged_record_or_ack_explains_no_loss(shop: Folder) -> None:
    """A backup deleted, and a record beside it that it was forgotten: no verb missed it. An ack hid what `status` told."""
    sign(shop)
    first, lost, last = backups(shop, "first", "lost", "last")
    shop.good("forget", "shop", first, "--yes")
    assert "record-unsigned" not in status(shop)
    record = (shop.path / "vault" / "shop" / "forgotten" / f"{first}.json").read_bytes()
    manifest = (folder(shop, lost) / "manifest.json").read_bytes()
    digest = hashlib.sha256(manifest).hexdigest()
    forged = {**json.loads(record), "id": lost, "manifest_sha256": digest}
    (shop.path / "vault" / "shop" / "forgotten" / f"{lost}.json").write_bytes(canonical.encode(forged))
    shutil.rmtree(folder(shop, lost))
    assert "record-unsigned" in status(shop)
    assert "chain-broken" in codes(shop.run("verify", "shop", last, "--json"))
    shop.good("ack", "shop", "no-alert-route", "--because", "a test")
    assert not [
        one
        for one in shop.run("status", "--json").document["data"]["systems"][0]["findings"]
        if one["code"] == "no-alert-route" and one["severity"] != "info"
    ]
    acks = shop.path / "vault" / "shop" / "acks.json"
    rewrite(acks, acks.read_bytes().replace(b"no-alert-route", b"record-unsigned"))
    told = shop.run("status", "--json").document["data"]["systems"][0]["findings"]
    assert {one["severity"] for one in told if one["code"] in ("record-unsigned", "no-alert-route")} == {
        "error",
        "warning",
    }


@pytest.mark.rule("C7")
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_a_stranger_checks_a_signature_with_openssl(shop: Folder, encrypted: bool) -> None:
    """By the commands of FORMAT.md and of the paper of `keygen`, with no program of ours; and a copy holds it as well."""
    more = "copies: {second: ./second}\n"
    if encrypted:
        recipient = shop.good("keygen", "--json").data["recipient"]
        key = shop.path / "backup-key.txt"
        more += f'encryption: {{recipients: [{recipient}], identity: "${{file:{key}}}"}}\n'
    public = sign(shop, more=more)
    (identifier,) = backups(shop, "one")
    assert public in (shop.path / "signers.txt").read_text()
    pem = f"-----BEGIN PUBLIC KEY-----\n{public}\n-----END PUBLIC KEY-----\n"
    (shop.path / "signer.pem").write_text(pem)
    (command,) = [
        one for one in re.findall(r"```bash\n(.*?)```", FORMAT.read_text(), re.DOTALL) if "openssl" in one
    ]
    command = command.replace("shop/2026-11-21T02-00-00-123Z", f"shop/{identifier}")
    command = command.replace("~/signer.pem", str(shop.path / "signer.pem"))
    if encrypted:
        command = command.replace("manifest.json.sha256", "manifest.json.age.sha256")

    def check(place: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command], cwd=shop.path / place, capture_output=True, text=True, check=False
        )

    shop.good("copy", "shop")
    for place in ("vault", "second"):
        done = check(place)
        assert (done.returncode, "Signature Verified Successfully" in done.stdout) == (0, True), done
    assert signatures(shop, "--copy", "second") == {identifier: "signed"}
    shop.good("restore", "shop", "--from", "second", "--to", shop.restored)
    # A signature that was altered is noticed by both, and repaired from the copy.
    path = folder(shop, identifier) / "seal.sig"
    rewrite(path, bytes(64))
    assert check("vault").returncode != 0
    assert signatures(shop) == {identifier: "wrong"}
    shop.good("repair", "shop")
    assert signatures(shop) == {identifier: "signed"}
    if encrypted:
        # Without the secret key, what lies in the open is all there is: it is under the seal, and so under the signature.
        outline = folder(shop, identifier) / "outline.json"
        rewrite(outline, outline.read_bytes().replace(b'"kind":"manual"', b'"kind":"imported"'))
        assert signatures(shop) == {identifier: "wrong"}


def test_a_key_that_cannot_sign_stops_a_backup_before_it_begins(shop: Folder) -> None:
    """A host whose backups would be refused by all others must not find that out on the day of the restore."""
    sign(shop)
    lines = sign_lines(shop)
    (shop.path / "backup-signing.pem").rename(shop.path / "other.pem")
    shop.good("keygen", "--signing", "--json")
    ended = shop.run("backup", "shop", "--no-record")
    assert (ended.code, "is none of `signers:`" in ended.stderr) == (2, True), str(ended)
    assert "signing-key" in codes(shop.run("doctor", "--json"))
    configure(shop, re.sub(r"signers:.*\n", "", lines))
    assert "signers-missing" in codes(shop.run("doctor", "--json"))
    configure(shop, re.sub(r"signers:.*", "signers: [MCowBQYDK2VwAyEA]", lines))
    assert "is not the public key of a signer" in shop.run("list").stderr


def test_what_a_step_hands_to_the_next_is_not_signed_for_another(shop: Folder) -> None:
    """A draft in the vault was changed between two steps of the graph: the last step would have signed it."""
    sign(shop)
    site = Site.load(shop.path / "backup.yaml")
    export(site, BackupOrder("shop"), token="t")
    assert not [path for path in (shop.path / "vault" / "shop").rglob("*.json") if path.name != "lock.json"]
    drafts = shop.path / "vault" / "shop" / "drafts"
    drafts.mkdir()
    (held,) = (shop.path / ".backup-pipeline" / "known").rglob("drafts/t.json")
    (drafts / "t.json").write_bytes(held.read_bytes().replace(b'"kind":"manual"', b'"kind":"imported"'))
    made = commit(site, "shop", token="t")
    assert (made.kind, signatures(shop)) == ("manual", {made.id: "signed"})


def forge(shop: Folder, good: str, place: str = "vault") -> str:
    """A whole backup of the attacker's own: a new id, seal and chain, a proof that a drill passed, and no signature."""
    root = shop.path / place / "shop"
    forged = backup_id(datetime.now(UTC))
    shutil.copytree(root / good, root / forged)
    (root / forged / "seal.sig").unlink()
    data = (root / good / "manifest.json").read_bytes()
    link = {"id": good, "sha256": hashlib.sha256(data).hexdigest()}
    made = canonical.encode({**json.loads(data), "id": forged, "previous": link})
    digest = hashlib.sha256(made).hexdigest()
    rewrite(root / forged / "manifest.json", made)
    rewrite(root / forged / "manifest.json.sha256", f"{digest}  manifest.json\n".encode())
    for proof in (root / forged / "proofs").iterdir():
        told = {**json.loads(proof.read_bytes()), "manifest_sha256": digest, "kind": "drill"}
        rewrite(proof, canonical.encode(told))
    return forged


@pytest.mark.rule("C7")
def test_forged_backups_make_prune_forget_no_real_one(shop: Folder) -> None:
    """`copy` took them along in silence, and `prune` forgot every signed backup, in the vault and in the copy, exit 0."""
    sign(shop, more="copies: {usb: ./usb}\n")
    config = shop.path / "backup.yaml"
    config.write_text("retention: {last: 2}\n" + config.read_text())
    real = backups(shop, "one", "two")
    shop.good("copy", "shop")
    ahead = [forge(shop, real[-1]) for _ in range(3)]
    ended = shop.run("copy", "shop", "--json")
    assert (ended.code, "unsigned" in codes(ended)) == (17, True), str(ended)
    assert {path.name for path in (shop.path / "usb" / "shop").glob("2*")} == set(real)
    forge(shop, real[-1], "usb")
    forge(shop, real[-1], "usb")
    for more in ((), ("--copy", "usb")):
        ended = shop.run("prune", "--json", *more)
        assert (ended.code, "unsigned" in codes(ended)) == (18, True), str(ended)
        assert signatures(shop, *more).items() >= dict.fromkeys(real, "signed").items()
    found = shop.run("status", "--json").document["data"]["systems"][0]
    assert (found["latest"]["id"], found["proven"]) == (real[-1], None)
    # The next one is copied over the gap that they leave, and takes the place of the oldest real one.
    say(shop, "three")
    ended = shop.run("backup", "shop", "--no-record", "--json")
    assert ended.code == 17, str(ended)
    after = ended.document["data"]["backup"]["id"]
    assert (shop.path / "usb" / "shop" / after).is_dir()
    shop.run("prune")
    assert set(signatures(shop)) == {real[-1], *ahead, after}
    for one in ahead:
        shop.good("forget", "shop", one, "--yes")
    shop.good("prune")
    assert signatures(shop) == {real[-1]: "signed", after: "signed"}


@pytest.mark.rule("C7")
def test_rekey_signs_no_backup_of_another_hand(shop: Folder) -> None:
    """Encrypted to the public recipient by another hand, and unsigned: `rekey` wrote it again with this host's signature."""
    key = shop.path / "backup-key.txt"
    recipient = shop.good("keygen", "--json").data["recipient"]
    encryption = f'encryption: {{recipients: [{recipient}], identity: "${{file:{key}}}"}}\n'
    sign(shop, more=encryption)
    (real,) = backups(shop, "real")
    (folder(shop, real) / "seal.sig").unlink()
    other = shop.good("keygen", "--out", "other.txt", "--json").data["recipient"]
    key.write_text(key.read_text() + (shop.path / "other.txt").read_text())
    configure(shop, encryption.replace(recipient, other) + sign_lines(shop))
    ended = shop.run("rekey", "shop")
    assert (ended.code, "is not signed" in ended.stderr) == (7, True), str(ended)
    assert signatures(shop) == {real: "unsigned"}
    # What its remedy says.
    (signed,) = backups(shop, "next")
    shop.good("rekey", "shop")
    assert signatures(shop)[signed] == "signed"
