"""Keys from the command line, and a host that has only public ones: what it can do, and what it says of the rest."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.cli import main
from backup_pipeline.vault import crypto
from backup_pipeline_tests.harness.encrypted import change, make_shop


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(list(argv))
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("BACKUP_CONFIG", raising=False)
    return folder


def keygen(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, str]:
    code, out, err = run(capsys, "keygen", "--json", *more)
    assert code == 0, err
    found: dict[str, str] = json.loads(out)["data"]
    return found


def configure(home: Path, recipients: str, identity: Path | None, name: str = "backup.yaml") -> str:
    lines = [
        "vault: vault",
        f"state: state-{name}",
        "encryption:",
        f"  recipients: [{recipients}]",
        *([f"  identity: ${{file:{identity}}}"] if identity else []),
        "copies:",
        "  second: copy",
        "systems:",
        "  shop:",
        f"    database: sqlite:///{home}/shop.db",
    ]
    (home / name).write_text("\n".join(lines) + "\n")
    return str(home / name)


@pytest.mark.parametrize("record", [[], ["--no-record"]])
def test_an_identity_that_does_not_open_what_is_written_is_an_error_of_the_backup_and_of_status(
    home: Path, capsys: pytest.CaptureFixture[str], record: list[str]
) -> None:
    make_shop(home / "shop.db", rows=50)
    right, wrong = keygen(capsys, "--out", "right.txt"), keygen(capsys, "--out", "wrong.txt")
    assert right != wrong
    config = configure(home, right["recipient"], home / "wrong.txt")
    code, out, _ = run(capsys, "-q", "backup", "shop", "--config", config, *record)
    assert code == 10, "the backup is made, and this host will not read it back"
    assert "ERROR identity-wrong" in out
    code, out, _ = run(capsys, "status", "--config", config)
    assert (code, "identity-wrong" in out) == (13, True)
    mended = configure(home, right["recipient"], home / "right.txt")
    assert run(capsys, "-q", "backup", "shop", "--config", mended, *record)[:2] == (0, "")
    assert "identity-wrong" not in run(capsys, "status", "--config", mended)[1]


# ── keygen


def test_the_key_file_is_its_owners_alone_and_the_public_tool_takes_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = keygen(capsys, "--out", "key.txt")
    path = home / "key.txt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert crypto.public_keys(path.read_text()) == (made["recipient"],)
    assert made["recipient"] in made["configuration"]
    if shutil.which("age-keygen"):
        done = subprocess.run(["age-keygen", "-y", "key.txt"], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == made["recipient"]


def test_a_key_is_never_overwritten(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keygen(capsys, "--out", "key.txt")
    before = (home / "key.txt").read_text()
    code, _, err = run(capsys, "keygen", "--out", "key.txt")
    assert code == 5
    assert "never overwritten" in err
    assert (home / "key.txt").read_text() == before


def test_a_folder_that_others_can_write_to_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "open").mkdir()
    (home / "open").chmod(0o777)
    code, _, err = run(capsys, "keygen", "--out", "open/key.txt")
    assert code == 2
    assert "others can write" in err
    assert not (home / "open" / "key.txt").exists()


def test_a_key_does_not_lie_in_the_vault_that_it_locks(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = keygen(capsys, "--out", "key.txt")
    configure(home, made["recipient"], None)
    (home / "vault").mkdir()
    code, _, err = run(capsys, "keygen", "--out", "vault/key.txt")
    assert code == 2
    assert "lies in the vault" in err
    assert not list((home / "vault").iterdir())


def test_the_secret_is_shown_to_a_terminal_only(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "keygen", "--out", "key.txt")
    assert code == 0
    secret = crypto.identities_in((home / "key.txt").read_text())[0]
    assert "AGE-SECRET" not in out + err
    code, out, err = run(capsys, "keygen", "--json", "--out", "other.txt")
    assert "AGE-SECRET" not in out + err
    assert secret not in out


@pytest.mark.parametrize("name", ["key.svg", "paper.txt"])
def test_the_paper_copy_holds_the_whole_key(
    home: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    keygen(capsys, "--out", "key", "--paper", name)
    secret = crypto.identities_in((home / "key").read_text())[0]
    text = (home / name).read_text()
    assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    words = re.sub(r"\s+", "", re.sub(r"<[^>]+>", "", text))
    assert secret in words
    assert "path" in text if name.endswith("svg") else "█" in text


def test_a_warning_where_the_key_could_be_committed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".git").mkdir()
    made = keygen(capsys, "--out", "key.txt")
    assert any("git work tree" in warning for warning in made["warnings"])


# ── a host with public keys only


def test_what_works_without_the_key_and_what_asks_for_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = make_shop(home / "shop.db", rows=500)
    key = keygen(capsys, "--out", "key.txt")
    host = configure(home, key["recipient"], None)
    for _ in range(2):
        code, _, err = run(capsys, "backup", "shop", "--config", host)
        assert code == 0, err
        change(url)
    other = configure(home, key["recipient"], None, "elsewhere.yaml")
    for argv in (
        ["list"],
        ["list", "--json"],
        ["status"],
        ["verify", "shop", "--quick"],
        ["verify", "shop", "all", "--quick"],
    ):
        code, _, err = run(capsys, *argv, "--config", other)
        assert code in ((0, 13) if argv == ["status"] else (0,)), err
    assert "encrypted" in run(capsys, "list", "--config", other)[1]
    line = json.loads(run(capsys, "list", "--json", "--config", other)[1])
    assert '"rows": null' in json.dumps(line)
    target = home / "back.db"
    for argv in (
        ["show", "shop"],
        ["verify", "shop"],
        ["drill", "shop"],
        ["restore", "shop", "latest", "--to", f"sqlite:///{target}"],
        ["query", "shop", "latest", "SELECT count(*) FROM zebra_customers"],
    ):
        code, _, err = run(capsys, *argv, "--config", other)
        assert code == 16, (argv, err)
        assert "identity" in err
        assert "Traceback" not in err
    assert not target.exists()

    owner = configure(home, key["recipient"], home / "key.txt", "owner.yaml")
    for argv in (
        ["show", "shop"],
        ["verify", "shop", "all"],
        ["drill", "shop"],
        ["restore", "shop", "latest", "--to", f"sqlite:///{target}"],
    ):
        code, _, err = run(capsys, *argv, "--config", owner)
        assert code == 0, (argv, err)
    assert target.exists()
    # The stick is away: a second key would open nothing.
    (home / "key.txt").rename(home / "away.txt")
    code, _, err = run(capsys, "verify", "shop", "--config", owner)
    assert code == 16
    assert "put it back where it was" in err


def test_the_copy_of_an_encrypted_vault_needs_no_key(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_shop(home / "shop.db", rows=500)
    key = keygen(capsys, "--out", "key.txt")
    host = configure(home, key["recipient"], None)
    assert run(capsys, "backup", "shop", "--no-copy", "--config", host)[0] == 0
    other = configure(home, key["recipient"], None, "elsewhere.yaml")
    code, _, err = run(capsys, "copy", "shop", "--config", other)
    assert code == 0, err

    def held(folder: str) -> dict[str, bytes]:
        return {
            str(path.relative_to(home / folder)): path.read_bytes()
            for path in (home / folder).rglob("*")
            if path.is_file() and not path.name.startswith("verify")
        }

    assert held("vault").keys() <= held("copy").keys()
    assert all(held("copy")[name] == data for name, data in held("vault").items())
    shutil.rmtree(home / "vault")
    owner = configure(home, key["recipient"], home / "key.txt", "owner.yaml")
    code, _, err = run(
        capsys,
        "restore",
        "shop",
        "latest",
        "--from",
        "second",
        "--to",
        f"sqlite:///{home}/back.db",
        "--config",
        owner,
    )
    assert code == 0, err


def test_rekey_from_the_command_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_shop(home / "shop.db", rows=500)
    old, new = keygen(capsys, "--out", "old.txt"), keygen(capsys, "--out", "new.txt")
    first = configure(home, old["recipient"], None)
    assert run(capsys, "backup", "shop", "--config", first)[0] == 0
    (home / "both.txt").write_text((home / "new.txt").read_text() + (home / "old.txt").read_text())
    (home / "both.txt").chmod(0o600)
    changed = configure(home, new["recipient"], home / "both.txt", "changed.yaml")

    assert "other recipients than those" in run(capsys, "status", "--config", changed)[1]
    code, out, err = run(capsys, "rekey", "shop", "--dry-run", "--config", changed)
    assert code == 0, err
    assert "no retention removes it" in out
    with Path(changed).open("a") as file:
        file.write("retention: {daily: 7}\n")
    kept = json.loads(run(capsys, "list", "shop", "--json", "--config", changed)[1])["data"]["backups"][0][
        "id"
    ]
    out = run(capsys, "rekey", "shop", "--dry-run", "--config", changed)[1]
    assert re.search(rf"{kept} .* 20\d\d-\d\d-\d\d \d\d:\d\d UTC\n", out), out
    # No rule removes what is pinned, so no date is promised.
    run(capsys, "pin", "shop", kept, "--reason", "the audit", "--config", changed)
    out = run(capsys, "rekey", "shop", "--dry-run", "--config", changed)[1]
    assert re.search(rf"{kept} .* never: it is pinned\n", out), out
    code, out, err = run(capsys, "rekey", "shop", "--json", "--config", changed)
    assert code == 0, err
    made = json.loads(out)["data"]["report"]
    only = configure(home, new["recipient"], home / "new.txt", "only.yaml")
    code, _, err = run(capsys, "drill", "shop", made["new_id"], "--config", only)
    assert code == 0, err


def test_vault_and_configuration_that_disagree_are_told_apart(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_shop(home / "shop.db", rows=50)
    key = keygen(capsys, "--out", "key.txt")
    host = configure(home, key["recipient"], None)
    assert run(capsys, "backup", "shop", "--config", host)[0] == 0
    plain = home / "plain.yaml"
    text = (home / "backup.yaml").read_text()
    plain.write_text(re.sub(r"encryption:\n  recipients: .*\n", "", text))
    for argv in (
        ["backup", "shop"],
        ["list"],
        ["verify", "shop", "--quick"],
        ["restore", "shop", "--to", "sqlite:////x"],
    ):
        code, _, err = run(capsys, *argv, "--config", str(plain))
        assert code == 2, (argv, err)
        assert "is an encrypted vault" in err


def _doctor(capsys: pytest.CaptureFixture[str], config: str) -> dict[str, str]:
    _, out, _ = run(capsys, "doctor", "--json", "--config", config)
    document = json.loads(out)
    return {one["code"]: one["severity"] for one in document["data"]["machine"]["findings"]}


def test_the_doctor_looks_at_the_key(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shop(home / "shop.db", rows=50)
    key, other = keygen(capsys, "--out", "key.txt"), keygen(capsys, "--out", "other.txt")
    found = _doctor(capsys, configure(home, key["recipient"], None))
    assert not {code for code in found if code.startswith("identity")}
    found = _doctor(capsys, configure(home, key["recipient"], home / "key.txt"))
    assert found["identity-on-host"] == "info"
    assert "identity-readable" not in found
    (home / "key.txt").chmod(0o640)
    assert _doctor(capsys, str(home / "backup.yaml"))["identity-readable"] == "warning"
    assert _doctor(capsys, configure(home, other["recipient"], home / "key.txt"))["identity-other"] == "error"
    assert _doctor(capsys, configure(home, key["recipient"], home / "gone"))["identity-absent"] == "info"
    monkeypatch.setenv("PATH", str(home))
    assert _doctor(capsys, str(home / "backup.yaml"))["age-missing"] == "info"


def test_a_host_whose_key_file_is_gone_still_makes_backups(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = make_shop(home / "shop.db", rows=500)
    key = keygen(capsys, "--out", "key.txt")
    host = configure(home, key["recipient"], home / "on" / "a" / "stick.txt")
    for _ in range(2):
        code, _, err = run(capsys, "backup", "shop", "--config", host)
        assert code == 0, err
        change(url)
    code, _, err = run(capsys, "verify", "shop", "--config", host)
    assert code == 16
    assert "stick.txt" in err


def test_a_backup_of_before_the_change_of_keys_is_one_finding_that_names_the_old_key(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not eight damages with the advice to copy or make anew what is whole; and nothing that is held against it later."""
    make_shop(home / "shop.db")
    old = keygen(capsys, "--out", str(home / "old.txt"))
    new = keygen(capsys, "--out", str(home / "new.txt"))
    configure(home, old["recipient"], None)
    assert run(capsys, "backup", "shop", "--no-copy")[0] == 0
    configure(home, new["recipient"], home / "new.txt")
    remembered = set(home.glob("vault/shop/*/proofs/*"))

    code, out, _ = run(capsys, "verify", "shop", "all", "--json")

    assert code == 10
    (found,) = [one for one in json.loads(out)["data"]["report"]["findings"] if one["severity"] == "error"]
    assert found["code"] == "key-missing"
    assert "add the old key" in found["remedy"]
    assert set(home.glob("vault/shop/*/proofs/*")) == remembered, (
        "a missing key says nothing about the backup"
    )


def test_a_schema_that_only_the_old_key_opens_is_not_compared_and_stops_no_backup(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = make_shop(home / "shop.db")
    old = keygen(capsys, "--out", str(home / "old.txt"))
    new = keygen(capsys, "--out", str(home / "new.txt"))
    configure(home, old["recipient"], None)
    assert run(capsys, "backup", "shop", "--no-copy")[0] == 0
    configure(home, new["recipient"], home / "new.txt")
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute("ALTER TABLE quokka_orders ADD COLUMN later TEXT")
    stored = {path.name.partition(".")[0] for path in home.glob("vault/objects/*/*")}
    forgotten = [one for one in home.glob("state-*/known/*/content/*") if one.name in stored]
    assert forgotten
    for one in forgotten:
        one.unlink()

    code, out, err = run(capsys, "backup", "shop", "--json")

    assert code == 0, out + err
    data = json.loads(out)["data"]
    assert "add the old key" in out, "the check says what to do"
    assert data["copies"][0]["report"]["copied"], "what is whole is copied"
