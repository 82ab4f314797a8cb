"""From what people write to the file that is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.databases.sqlite.export.address import file_of
from backup_pipeline.errors import ConfigError, NotSupported


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///app.db", "app.db"),
        ("sqlite:////srv/data/app.db", "/srv/data/app.db"),
        ("sqlite+pysqlite:////srv/app.db?timeout=5", "/srv/app.db"),
        ("sqlite+aiosqlite:///./app.db", "app.db"),
        ("sqlite3:///app.db", "app.db"),
        ("/srv/with space/app #1.db", "/srv/with space/app #1.db"),
        ("sqlite:////srv/100%.db", "/srv/100%.db"),
        ("sqlite:///file:/srv/a%20b.db?mode=ro&uri=true", "/srv/a b.db"),
        ("file:./dev.db", "dev.db"),
        ("file:///srv/app.db?connection_limit=1", "/srv/app.db"),
    ],
)
def test_an_address_names_a_file(url: str, path: str) -> None:
    assert file_of(url) == Path(path)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        ":memory:",
        "sqlite:///:memory:",
        "",
        "sqlite://host/app.db",
        "sqlite://app.db",
        "postgresql://x/y",
    ],
)
def test_an_address_without_a_file_is_a_mistake(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        file_of(url)
    assert "sqlite:////" in caught.value.remedy


def test_sqlcipher_is_refused() -> None:
    with pytest.raises(NotSupported):
        file_of("sqlite+pysqlcipher://:secret@/app.db")
