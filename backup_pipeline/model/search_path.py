"""Where functions of a database that name things without a schema find them: in the schemas of the database's own
search_path, and in those of its extensions. `restore` and RECOVER.md take both from here."""

from __future__ import annotations

import re

from backup_pipeline.model.schema import Schema

_NAME = re.compile(r'"((?:[^"]|"")+)"|([^",\s]+)')


def recorded(schema: Schema) -> tuple[str, ...] | None:
    """ALTER DATABASE … SET search_path, of the database that was backed up."""
    settings = schema.database.settings if schema.database else ()
    text = next((one.value for one in settings if one.name == "search_path" and not one.role), None)
    if text is None:
        return None
    names = (quoted.replace('""', '"') or plain for quoted, plain in _NAME.findall(text))
    return tuple(name for name in names if name != "$user")


def of_extensions(schema: Schema) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(item.schema for item in schema.objects if item.kind == "extension" and item.schema)
    )
