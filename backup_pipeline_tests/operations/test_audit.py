"""One writer of the log of acts, for every caller of a verb."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backup_pipeline.errors import ConfigError, Interrupted, StoreUnavailable, VaultError
from backup_pipeline.operations import Site, audit
from backup_pipeline.operations.audit import Act, acts


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "backup.yaml").write_text(
        "vault: ./vault\nsystems:\n  shop: {database: 'sqlite:///shop.db'}\n"
    )
    return Site.load(tmp_path / "backup.yaml")


def written(site: Site) -> list[Act]:
    return list(acts.of(site.settings))


def test_an_act_has_one_line_when_it_ends(site: Site) -> None:
    with audit.acting(audit.Writer(lambda: site), audit.about("prune", "shop", "latest", "vault")) as done:
        done.learn(facts={"kept": 3})
        assert written(site) == []
    (act,) = written(site)
    assert (act.verb, act.system, act.backup, act.place, act.ok) == ("prune", "shop", "", "", True)
    assert act.facts == {"kept": 3}


def test_an_error_is_written_and_goes_on_also_where_a_success_is_not_written(site: Site) -> None:
    def failing() -> None:
        with audit.acting(audit.Writer(lambda: site), Act("copy")) as done:
            done.concludes, done.acts = False, (Act("copy", place="disk"),)
            raise StoreUnavailable("no answer", remedy="wait")

    with pytest.raises(StoreUnavailable):
        failing()
    with audit.acting(audit.Writer(lambda: site), Act("copy")) as done:
        done.concludes = False
    (act,) = written(site)
    assert (act.ok, act.place, act.code, act.message) == (False, "", "store-unavailable", "no answer")


def test_a_wrong_command_is_no_act_and_the_caller_says_more_of_a_cause(site: Site) -> None:
    with pytest.raises(ConfigError), audit.acting(audit.Writer(lambda: site), Act("copy")):
        raise ConfigError("no such copy")
    assert written(site) == []
    stopped = audit.Writer(lambda: site, cause=lambda _: Interrupted("stopped"))
    with pytest.raises(ValueError, match="3"), audit.acting(stopped, Act("copy")):
        raise ValueError(3)
    assert [act.code for act in written(site)] == [Interrupted.code]


def test_several_lines_share_the_moment_and_the_origin(site: Site) -> None:
    def completed(act: Act) -> Act:
        return replace(act, told=True)

    act = replace(audit.about("backup", "shop"), origin="python", run="r")
    with audit.acting(audit.Writer(lambda: site, completed=completed), act) as done:
        done.acts = [Act("backup", system="shop"), Act("copy", system="shop", place="disk", seconds=7.0)]
    first, second = written(site)
    assert (first.at, first.origin, first.run, first.told) == (second.at, second.origin, second.run, True)
    assert second.seconds == 7.0


def test_a_log_that_cannot_be_written_is_told_once_and_fails_nothing(site: Site) -> None:
    site.settings.state_folder.write_text("in the way")
    told: list[VaultError] = []
    with audit.acting(audit.Writer(lambda: site, unkept=told.append), Act("copy")) as done:
        done.acts = [Act("copy"), Act("copy", place="disk")]
    assert len(told) == 1
    assert "cannot be written" in told[0].message
