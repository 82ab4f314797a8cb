"""A password never comes out: not by any verb, any format, any error, nor into any file that we write."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import pytest

from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness import commands

MARKER = "hunter2-Marker"
#: No server listens at port 1.
DEAD = f"postgresql://app:{MARKER}@127.0.0.1:1/shop"

VERBS: dict[str, list[str]] = {
    "doctor": [],
    "inventory": ["shop"],
    "list": [],
    "status": [],
    "show": ["shop"],
    "verify": ["shop"],
    "drill": ["shop", "--no-record"],
    "query": ["shop", "latest", "select 1"],
    "restore": ["shop", "--to", DEAD],
    "init": ["--database", DEAD, "--output", "new.yaml"],
}


def forms() -> list[list[str]]:
    return [[], ["--json"], ["--verbose"], ["--json", "--verbose"]]


@pytest.mark.parametrize(
    "written", [DEAD, "${env:SHOP_URL}", "postgresql://app:${env:PW}@127.0.0.1:1/shop", "${file:url}"]
)
def test_no_verb_shows_the_password_of_a_database_that_does_not_answer(written: str, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(DEAD)
    (tmp_path / "backup.yaml").write_text(
        f"vault: ./vault\nsystems:\n  shop:\n    database: {written}\n    scratch: {written}\n"
    )
    folder = Folder(tmp_path, {"SHOP_URL": DEAD, "PW": MARKER})
    for verb, arguments in VERBS.items():
        for form in forms():
            ended = folder.run(verb, *arguments, *form)
            assert MARKER not in ended.stdout + ended.stderr, (verb, form)
            assert ended.code not in (70,), str(ended)
    no_files_hold(tmp_path, besides={"backup.yaml", "url"})


@pytest.mark.parametrize("before", ["p@", "p/", "12/", "p#", "p?", "p?a/", "p%", "[", "p:", "p&a="])
def test_a_password_that_should_have_been_encoded_is_not_taken_for_a_host(
    before: str, tmp_path: Path
) -> None:
    """libpq reads such an address in ways of its own, and parts of the password as things that are shown."""
    url = f"postgresql://app:{before}{MARKER}@127.0.0.1:1/shop"
    (tmp_path / "backup.yaml").write_text(
        "vault: ./vault\nsystems:\n  shop:\n    database: ${env:SHOP_URL}\n"
    )
    folder = Folder(tmp_path, {"SHOP_URL": url})
    tried = {
        "doctor": [],
        "inventory": ["shop"],
        "restore": ["shop", "--to", url],
        "init": ["--database", url, "--output", "n.yaml"],
    }
    for verb, arguments in tried.items():
        ended = folder.run(verb, *arguments, "--verbose")
        assert MARKER not in ended.stdout + ended.stderr, verb
        assert ended.code in (2, 3, 4, 14), str(ended)


def test_a_backup_that_fails_does_not_show_it_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The retries are real; only the waiting between them is not.
    monkeypatch.setattr("time.sleep", lambda _: None)
    (tmp_path / "backup.yaml").write_text(f"vault: ./vault\nsystems:\n  shop:\n    database: {DEAD}&\n")
    ended = commands.invoke("backup", "shop", "--no-record", "--verbose", cwd=tmp_path)
    assert ended.code != 0
    assert MARKER not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "text",
    [
        f"vault: ./vault\nsystems:\n  shop:\n    database: {DEAD}\n   x: y\n",
        f"vault: ./vault\nsystems:\n  shop: {DEAD}\n",
        f"vault: ./vault\nsystems:\n  shop:\n    database: [{DEAD}]\n",
        f"vault: s3://key:{MARKER}@bucket/x\nsystems:\n  shop:\n    database: x\n",
    ],
)
@pytest.mark.parametrize("form", forms())
def test_no_error_of_the_configuration_shows_it(text: str, form: list[str], tmp_path: Path) -> None:
    (tmp_path / "backup.yaml").write_text(text)
    ended = commands.invoke("list", *form, cwd=tmp_path)
    assert ended.code == 2
    assert MARKER not in ended.stdout + ended.stderr


def with_password(url: str, password: str) -> str:
    """A server that trusts everybody takes any password: it travels all the way."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:{quote(password)}@{host}"))


@pytest.mark.parametrize("password", [MARKER, "p@ss/w:rd#Marker"])
def test_nothing_that_is_written_holds_it(password: str, pg_shop: Folder) -> None:
    url = with_password(pg_shop.env["SHOP_URL"], password)
    folder = Folder(pg_shop.path, {"SHOP_URL": url}, with_password(pg_shop.restored, password))
    shown = ""
    for arguments in (
        ["doctor"],
        ["inventory", "shop"],
        ["backup", "shop"],
        ["show", "shop"],
        ["show", "shop", "--raw"],
        ["drill", "shop", "--scratch", url, "--no-record"],
        ["restore", "shop", "--to", folder.restored, "--create", "--dry-run"],
        ["restore", "shop", "--to", folder.restored, "--create"],
        ["restore", "shop", "--to", folder.restored],
        ["status"],
        ["init", "--database", url, "--output", "new.yaml", "--system", "shop"],
    ):
        for form in ([], ["--json", "--verbose"]):
            ended = folder.run(*arguments, *form)
            shown += ended.stdout + ended.stderr
            assert ended.code != 70, str(ended)
    for spelling in (password, quote(password), quote(password, safe="")):
        assert spelling not in shown
        no_files_hold(folder.path, word=spelling)


def no_files_hold(folder: Path, *, word: str = MARKER, besides: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    found = [
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in besides and word.encode() in path.read_bytes()
    ]
    assert found == []
