"""backup.yaml: what it may say, what it refuses and how, and that nothing secret comes out of it."""

from __future__ import annotations

import pickle
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from backup_pipeline import config
from backup_pipeline.config.redaction import passwords_in
from backup_pipeline.errors import ConfigError, NotFound

MARKER = "hunter2-Marker"

SMALLEST = """\
vault: ./vault
systems:
  shop:
    database: ${env:DATABASE_URL}
    schedule: "0 2 * * *"
"""


def parse(text: str, base: Path = Path("/srv/shop"), **environ: str) -> config.Settings:
    return config.parse(text, name="backup.yaml", base=base, environ=environ)


def refused(text: str, base: Path = Path("/srv/shop"), **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, base, **environ)
    return str(caught.value)


def system(lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines.splitlines())
    return f"vault: v\nsystems:\n  shop:\n    database: sqlite:///x.db\n{body}"


# ── what it gives


def test_the_smallest_file_is_enough() -> None:
    settings = parse(SMALLEST, DATABASE_URL="sqlite:///shop.db")
    shop = settings.system("shop")
    assert shop.url == "sqlite:///shop.db"
    assert (shop.chunk_size, shop.proven_within, settings.zone_of("shop")) == (16 * 2**20, 35 * 86400, "UTC")


def test_paths_start_at_the_file_and_not_at_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "backup.yaml").write_text(system(""))
    settings = config.load(tmp_path / "etc" / "backup.yaml", environ={})
    assert settings.resolve(settings.vault.url) == tmp_path / "etc" / "v"
    assert settings.state_folder == tmp_path / "etc" / ".backup-pipeline"
    assert settings.resolve("/elsewhere") == Path("/elsewhere")


@pytest.mark.parametrize(
    ("written", "bytes_"),
    [
        ("64MiB", 64 * 2**20),
        ("64 MB", 64 * 2**20),
        ("1g", 2**30),
        ("512k", 2**19),
        (4096, 4096),
        ("4096", 4096),
    ],
)
def test_sizes_are_powers_of_1024(written: object, bytes_: int) -> None:
    assert parse(system(f"chunk_size: {written}")).system("shop").chunk_size == bytes_


@pytest.mark.parametrize(
    ("written", "seconds"), [("90m", 5400), ("36h", 129600), ("2d", 172800), ("5w", 3024000)]
)
def test_durations_have_a_unit(written: str, seconds: int) -> None:
    assert parse(system(f"fresh_within: {written}")).system("shop").fresh_within == seconds


def test_the_file_is_found_by_option_then_variable_then_folder(tmp_path: Path) -> None:
    for name in ("option", "variable", "folder"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "backup.yaml").write_text(system(""))
    environ = {"BACKUP_CONFIG": str(tmp_path / "variable" / "backup.yaml")}
    option = tmp_path / "option" / "backup.yaml"
    assert config.load(option, environ=environ, folder=tmp_path / "folder").base.name == "option"
    assert config.load(None, environ=environ, folder=tmp_path / "folder").base.name == "variable"
    assert config.load(None, environ={}, folder=tmp_path / "folder").base.name == "folder"


def test_no_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(None, environ={}, folder=tmp_path)
    assert str(tmp_path / "backup.yaml") in caught.value.message
    assert "backup-pipeline init" in caught.value.remedy


def test_anchors_and_merges_work_and_keep_their_lines() -> None:
    text = """\
vault: v
systems:
  a: &defaults
    database: sqlite:///a.db
    schedule: "0 2 * * *"
  b:
    <<: *defaults
    database: sqlite:///b.db
    schedul: x
"""
    assert "line 9: systems.b.schedul" in refused(text)
    fine = parse(text.replace("    schedul: x\n", ""))
    assert fine.system("b").schedule == "0 2 * * *"
    assert fine.system("b").url == "sqlite:///b.db"


# ── references


def test_a_reference_may_stand_inside_a_text() -> None:
    text = SMALLEST.replace("${env:DATABASE_URL}", "postgresql://app:${env:PW}@${env:HOST}/shop")
    assert parse(text, PW="p%40ss", HOST="db1").system("shop").url == "postgresql://app:p%40ss@db1/shop"


def test_a_file_reference_starts_at_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("sqlite:///from-file.db\n")
    settings = parse(SMALLEST.replace("${env:DATABASE_URL}", "${file:url}"), tmp_path)
    assert settings.system("shop").url == "sqlite:///from-file.db"


def test_a_missing_secret_of_one_system_does_not_stop_another() -> None:
    settings = parse(SMALLEST + "  blog:\n    database: sqlite:///blog.db\n")
    assert settings.system("blog").url == "sqlite:///blog.db"
    assert settings.system("shop").schedule == "0 2 * * *"
    with pytest.raises(ConfigError) as caught:
        _ = settings.system("shop").url
    assert str(caught.value) == (
        "backup.yaml, line 4: systems.shop.database: the environment variable DATABASE_URL is not set\n"
        "→ export DATABASE_URL=…"
    )


def test_a_missing_vault_scratch_and_alert_fail_when_they_are_used() -> None:
    settings = parse(
        'vault: ${env:VAULT}\nalerts: ["${env:ALERT}"]\nsystems:\n  shop:\n    database: sqlite:///x\n'
        "    scratch: ${file:no-such-file}\n"
    )
    scratch = settings.system("shop").scratch
    assert scratch is not None
    for late, line in ((settings.vault.url, 1), (settings.alerts[0], 2), (scratch, 6)):
        with pytest.raises(ConfigError, match=f"line {line}: "):
            late.get()


def test_what_shapes_the_work_is_needed_at_once() -> None:
    said = refused(system("schedule: ${env:CRON}\ntimezone: ${env:ZONE}"))
    assert "line 5: systems.shop.schedule: the environment variable CRON is not set → export CRON=…" in said
    assert "line 6: systems.shop.timezone: the environment variable ZONE is not set" in said


def test_a_variable_that_is_set_to_nothing_is_missing() -> None:
    with pytest.raises(ConfigError, match="what it refers to is empty"):
        _ = parse(SMALLEST, DATABASE_URL="").system("shop").url


def test_a_near_miss_of_a_variable_is_pointed_out() -> None:
    with pytest.raises(ConfigError, match="DATABASE_URI is set"):
        _ = parse(SMALLEST, DATABASE_URI="x").system("shop").url


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("${DATABASE_URL}", "write ${env:DATABASE_URL}"),
        ("${env:A-B}", "${env:NAME}"),
        ("${vault:x}", "${file:PATH}"),
    ],
)
def test_a_misspelt_reference_is_an_error_of_the_file(written: str, hint: str) -> None:
    assert hint in refused(SMALLEST.replace("${env:DATABASE_URL}", f'"{written}"'))


def test_a_doubled_dollar_is_a_dollar() -> None:
    assert (
        parse(SMALLEST.replace("${env:DATABASE_URL}", "sqlite:///$${x}.db")).system("shop").url
        == "sqlite:///${x}.db"
    )


# ── what it refuses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            system("exlude: [a]"),
            "line 5: systems.shop.exlude: there is no such setting\n→ did you mean exclude?",
        ),
        (system("cron: x"), "did you mean schedule?"),
        (system("drill-schedule: x"), "did you mean drill_schedule?"),
        (system("vault: x"), "`vault` stands at the top"),
        ("schedule: x\n" + system(""), "`schedule` belongs to a system: put it under systems.<name>"),
        (system("frobnicate: 1"), "the settings here are: chunk_size, copies, database"),
        (system("migrations: {tool: alembic, path: x, folder: y}"), "the settings here are: path, tool"),
        ("systems:\n  shop:\n    database: sqlite:///x\n", "vault: this setting is missing"),
        ("vault: v\n", "systems: this setting is missing"),
        ("vault: v\nsystems: {}\n", "there is no system in it"),
        ("vault: v\nsystems:\n  shop:\n", "line 3: systems.shop: settings are wanted here"),
        ("vault: v\nsystems:\n  shop:\n    schedule: x\n", "systems.shop.database: this setting is missing"),
        ("vault: gs://bucket/x\n" + system("")[len("vault: v\n") :], "gs:// is not a kind of store"),
        (
            "vault: {url: /srv/v, region: eu-central-1}\n" + system("")[len("vault: v\n") :],
            "line 1: vault: region means nothing for a store of the kind folder",
        ),
        ("copies: {again: ./v}\n" + system(""), "copies.again and vault are the same place"),
        ("copies: {inside: ./x/../v/copy}\n" + system(""), "or one lies in the other"),
        (
            "copies: {a: s3://b/x/, b: 's3://b/x/y'}\n" + system(""),
            "copies.b and copies.a are the same place, or one lies in the other",
        ),
        (
            "copies: {a: 'dropbox:///Backups', b: 'dropbox:///BACKUPS'}\n" + system(""),
            "copies.b and copies.a are the same place",
        ),
        (
            "copies: {nas: {url: /mnt/nas, max_rate: 5MB}}\n" + system(""),
            "max_rate means nothing for a store of the kind folder",
        ),
        ("copies: {away: {url: s3://b, endpont: x}}\n" + system(""), "copies.away.endpont: there is no such"),
        ("copies: {away: {url: s3://b, endpont: x}}\n" + system(""), "did you mean endpoint?"),
        ("copies: {Off-Site: s3://b}\n" + system(""), "a lower-case letter, then letters, digits or _"),
        (system("copies: [elsewhere]"), "systems.shop.copies names 'elsewhere'"),
        (system("files: {media: {}}"), "a file tree is one of path, paths, bucket or dropbox"),
        (system("files: {conf: {paths: [../x.py]}}"), "../x.py is not below the folder of this file"),
        (system("files: {conf: {paths: [~/x.py]}}"), "~/x.py is not below the folder of this file"),
        (
            system("files: {media: {path: /m, bucket: s3://b}}"),
            "a file tree is one of path, paths, bucket or dropbox",
        ),
        (system("files: {media: {path: /m, refs: {file: path}}}"), "'file' is not table.column"),
        (
            system("files: {media: {path: /m, refs: {a.file: path, sha256: b.sum}}}"),
            "sha256: b.sum is of a table of which no reference is named",
        ),
        (system("files: {media: {path: /m, max_siz: 1}}"), "did you mean max_size?"),
        ("encryption: {recipients: [age1nonsense]}\n" + system(""), "not the public key of an age identity"),
        (
            # As `keygen` would print it, but for the last character.
            "encryption: {recipients: [age1vm3dtdxxms4np8cghwdnx2m0h3qgzrka85jc6mma0cg66wsxzg4s0gn3hp]}\n"
            + system(""),
            "a character of it is wrong",
        ),
        (
            "encryption: {recipients: []}\n" + system(""),
            "encryption.recipients: name at least one public key",
        ),
        ("retention: {min_age_days: 30}\n" + system(""), "it keeps nothing"),
        (system("retention: {dayly: 3, last: 1}"), "did you mean daily?"),
        (system("retention: {last: 1, pin: [2026-11-21T02-00]}"), "is not the id of a backup"),
        ("", "the file holds no settings"),
        ("- a\n", "the file holds no settings"),
        ("base: x\n" + system(""), "base: there is no such setting"),
        (system("include: orders"), "a list is wanted here"),
        (system('include: [""]'), "there is nothing here"),
        (system("groups: [a]"), "names with values are wanted here"),
        (system("groups: {a b: [x]}"), "cannot be the name of a group"),
        (system('schedule: "0 2 * *"'), "is not a cron expression; five fields"),
        (system('schedule: "* 0 2 * * *"'), "is not a cron expression"),
        (system('schedule: "0 0 30 2 *"'), "is not a cron expression"),
        (system("timezone: Mars/Olympus"), "is not a time zone; use a name such as Europe/Berlin"),
        (system("timezone: ../../etc/passwd"), "is not a time zone"),
        (system("workers: many"), "a whole number is wanted here"),
        (system("workers: 0"), "greater than or equal to 1"),
        (system("chunk_size: 64QB"), "is not a size; write it as 64MiB"),
        (system("fresh_within: soon"), "is not a duration; write it as 90m"),
        (system("large_objects: maybe"), "'refuse' or 'exclude'"),
        (system("migrations: {tool: rails, path: x}"), "'alembic', 'django' or 'prisma'"),
        (system("owners: [me]"), "neither an e-mail address nor a team"),
        (system('tags: {"a b": c}'), "cannot be a tag"),
        (system("invariants: {none: ''}"), "there is nothing here"),
        ("vault: v\nsystems:\n  Shop: {database: x}\n", "'Shop' cannot be the name of a system"),
        ("vault: v\nsystems:\n  objects: {database: x}\n", "'objects' cannot be the name of a system"),
        (
            "vault: v\nsystems:\n  vault: {database: x}\n",
            "none of objects, tmp, vault); backups that were made under",
        ),
    ],
)
def test_a_mistake_is_named_with_what_to_do(text: str, expected: str) -> None:
    assert expected in refused(text)


def test_all_mistakes_are_named_at_once_in_the_order_of_the_file() -> None:
    said = refused(system("tags: never\nexlude: [a]\ntimezone: ${env:N}\nschedule: x\nchunk_size: big"))
    lines = [line for line in said.splitlines() if line.startswith("  line ")]
    assert [line.split(":")[0].strip() for line in lines] == [
        "line 5",
        "line 6",
        "line 7",
        "line 8",
        "line 9",
    ]
    assert said.startswith("backup.yaml has 5 problems:")


def test_a_key_that_stands_twice_is_an_error() -> None:
    said = refused(system('schedule: "0 2 * * *"\nschedule: "0 3 * * *"'))
    assert "line 6: systems.shop.schedule: this key is already on line 5" in said
    assert "this key is already on line 1" in refused("vault: a\n" + system(""))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vault: [\n", "this is not YAML"),
        ("vault: v\n\tsystems: x\n", "line 2: a tab in the indentation"),
        (system("schedule: * * * * *"), "line 5: this is not YAML: a value that begins with"),
        ("vault: v\nsystems:\n shop: {a: b\n", "this is not YAML"),
    ],
)
def test_what_is_not_yaml_is_named_by_its_line(text: str, expected: str) -> None:
    assert expected in refused(text)


def test_a_system_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound, match="no system 'shp'") as caught:
        parse(system("")).system("shp")
    assert caught.value.remedy == "did you mean shop? it has: shop"


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "backup.yaml").write_bytes(b"vault: \xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        config.load(tmp_path / "backup.yaml", environ={})


# ── secrets


def secretive() -> config.Settings:
    return parse(
        "vault: ./v\nalerts: ['json://user:${env:PW}@hook.example.org/a-long-token-of-a-webhook']\n"
        "systems:\n  shop:\n    database: postgresql://app:${env:PW}@db/shop\n"
        "    scratch: postgresql://drill@db/postgres?password=${env:PW}\n",
        PW=MARKER,
    )


def test_no_representation_shows_a_secret() -> None:
    settings = secretive()
    shop = settings.system("shop")
    shown = [repr(settings), str(settings), repr(shop), str(shop.database), f"{shop.scratch}", str(shop)]
    shown += [str(settings.model_dump()), repr(settings.alerts)]
    assert [text for text in shown if MARKER in text] == []
    assert MARKER in shop.url


def test_every_secret_is_known_to_redact() -> None:
    settings = secretive()
    text = f"password authentication failed for {MARKER}; a-long-token-of-a-webhook"
    assert config.redact(text, settings.secrets) == "password authentication failed for ***; ***"


def test_a_vault_from_a_variable_is_no_secret() -> None:
    settings = parse("vault: ${env:VAULT}\nsystems:\n  shop: {database: sqlite:///x}\n", VAULT="/mnt/backup")
    assert config.redact("no space in /mnt/backup", settings.secrets) == "no space in /mnt/backup"


@pytest.mark.parametrize(
    "text",
    [
        f"vault: v\nsystems:\n  shop:\n    database: postgresql://u:{MARKER}@h/d\n   bad: indent\n",
        f"vault: v\nsystems:\n  shop:\n    database: [postgresql://u:{MARKER}@h/d]\n",
        f"vault: v\nsystems:\n  shop: postgresql://u:{MARKER}@h/d\n",
        f"vault: v\nsystems:\n  shop:\n    database: postgresql://u:{MARKER}@h/d\n    database: x\n",
        f"vault: v\nsystems:\n  shop:\n    database: 'postgresql://u:{MARKER}@h/d\n",
        f"vault: v\nsystems:\n  shop:\n    databas: postgresql://u:{MARKER}@h/d\n",
        f"vault: v\nalerts: {{a: json://{MARKER}}}\nsystems:\n  shop: {{database: x}}\n",
    ],
)
def test_no_error_about_the_file_shows_a_secret(text: str) -> None:
    assert MARKER not in refused(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p@ss/w@h/d", "postgresql://u:***@h/d"),
        ("at postgresql://u:secret@h:5432/d?x=1 now", "at postgresql://u:***@h:5432/d?x=1 now"),
        ("postgresql://u@h/d?password=secret&x=1", "postgresql://u@h/d?password=***&x=1"),
        ("host=h password='a b' user=u", "host=h password=*** user=u"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("mailto://u:secret@h?to=ops@example.com", "mailto://u:***@h?to=ops@example.com"),
        ("postgresql://u:s@cr?et/x@h/d?sslmode=x", "postgresql://u:***@h/d?sslmode=x"),
        ("export SHOP_PASSWORD=… (it is not set)", "export SHOP_PASSWORD=… (it is not set)"),
        ("export SHOP_PASSWORD=…x", "export SHOP_PASSWORD=***"),
    ],
)
def test_passwords_are_found_by_their_place(text: str, shown: str) -> None:
    assert config.redact(text) == shown


@pytest.mark.parametrize(
    "password", ["p@ss/wörd#1", "plain", "100%", "a%zz", "two words", "p:[x]?&+", "p%40s/s"]
)
def test_a_password_may_stand_in_a_variable_as_it_is(password: str, tmp_path: Path) -> None:
    text = "vault: ./v\nsystems:\n  shop:\n    database: postgresql://${env:WHO}:%s@db1/shop\n"
    found = parse(text % "${env:PW}", PW=password, WHO="app")
    parts = urlsplit(found.system("shop").url)
    assert (parts.username, unquote(parts.password or ""), parts.hostname) == ("app", password, "db1")
    assert config.redact(f"no {password}, no {parts.password}", found.secrets) == "no ***, no ***"
    (tmp_path / "pw").write_text(password)
    assert parse(text % f"${{file:{tmp_path}/pw}}", WHO="app").system("shop").url == found.system("shop").url
    whole = parse(text % "${env:PW}", PW="p%40ss", WHO="app")
    assert unquote(urlsplit(whole.system("shop").url).password or "") == "p@ss", "it was encoded already"


def test_a_password_is_known_in_every_spelling() -> None:
    assert passwords_in("postgresql://u:p%40ss@h/d?sslpassword=other") == ("p%40ss", "p@ss", "other")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{MARKER}@h/d",
        f"postgresql://u@h/d?password={MARKER}",
        f"postgresql://u:{MARKER}@[::1/d",
    ],
)
def test_a_url_is_shown_without_its_password(url: str) -> None:
    assert MARKER not in config.safe_url(url)
    assert config.safe_url(url).startswith("postgresql://u")


def test_settings_cross_process_borders() -> None:
    settings = secretive()
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings
    assert again.system("shop").url == settings.system("shop").url
