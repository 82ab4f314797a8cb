"""A question is asked of a person, and only yes is a yes."""

from __future__ import annotations

import io

import pytest

from backup_pipeline.cli import confirming
from backup_pipeline.cli.call import Call
from backup_pipeline.cli.page import Page
from backup_pipeline.errors import UsageError
from backup_pipeline_tests.cli.conftest import Folder


class Person(io.StringIO):
    """A terminal at which a person types."""

    def isatty(self) -> bool:
        return True


def typing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", Person(text))


@pytest.mark.parametrize("answer", ["n\n", "\n", ""], ids=["no", "enter", "end of input"])
def test_any_other_answer_than_yes_changes_nothing(
    shop: Folder, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    first = shop.backup()
    shop.backup()
    typing(monkeypatch, answer)
    ended = shop.run("forget", "shop", first)
    assert (ended.code, ended.stdout) == (130, "")
    assert f"Forget shop {first} for good?" in ended.stderr
    assert "nothing was changed" in ended.stderr
    assert shop.good("show", "shop", first, "--json").data["backup"]["id"] == first
    acts = [path.read_text() for path in (shop.path / ".backup-pipeline" / "acts").iterdir()]
    assert "forget" not in "".join(acts)


def test_yes_is_a_yes(shop: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shop.backup()
    shop.backup()
    typing(monkeypatch, "y\n")
    assert "is forgotten" in shop.good("forget", "shop", first).stdout


def test_what_is_asked_about_is_shown_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    typing(monkeypatch, "y\n")
    out, err = io.StringIO(), io.StringIO()
    call = Call(stdout=out, stderr=err)

    def show(page: Page) -> None:
        page.line("3 rows of orders would be written")

    confirming.ask(call, "Write them?", show)
    assert ("3 rows of orders" in err.getvalue(), out.getvalue()) == (True, "")


def test_where_no_person_can_be_asked_the_remedy_says_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    for json, stdin in ((True, Person()), (False, io.StringIO())):
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(UsageError, match="rows would be written") as told:
            confirming.need_a_person(Call(json=json), "rows would be written")
        assert "--yes" in told.value.remedy
