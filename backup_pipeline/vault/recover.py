"""RECOVER.md: how to rebuild one backup with no code of ours, written beside its manifest.

What belongs here: the prose and the order of the steps. How names and values get safely into SQL and into a shell is
in `quoting`. A test takes the commands out of the text and runs them with psql, zstd, cat and sha256sum alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from backup_pipeline.model.manifest import FileImage, Manifest, ObjectRef, Segment, TableEntry
from backup_pipeline.model.postgres_session import row_text
from backup_pipeline.model.schema import Database, Schema, TableId
from backup_pipeline.vault import layout, recover_rules
from backup_pipeline.vault.quoting import fenced, here_document, identifier, literal, shown
from backup_pipeline.vault.recover_files import NEEDS, Images, files_steps, variable
from backup_pipeline.vault.surroundings import database_steps, role_statements

T = TypeVar("T")

#: Opens encrypted objects; a function, so that a step is as easy to read as one of a vault that is not encrypted.
_PLAIN = """plain() {
  for f in "$@"; do
    case "$f" in
      *.zst.age) (set -o pipefail; age -d -i "$KEY" "$f" | zstd -dc) ;;
      *) age -d -i "$KEY" "$f" ;;
    esac || return
  done
}"""

#: pg_dump's guard for psql, around a text whose server may have been hostile: in between, psql runs no command of its
#: own (a shell command, for one). The key is the digest of the text, which no text can hold.
_GUARDED = r"""guarded() {
  local key="$1" guard=yes; shift
  printf '\\restrict %s\n\\unrestrict %s\n' "$key" "$key" | run 2> /dev/null || guard=
  [ "$guard" ] || echo 'this psql knows no \restrict (since 13.22, 14.19, 15.14, 16.10 and 17.6 it does): if others could change the old server, use a newer one' >&2
  { [ ! "$guard" ] || printf '\\restrict %s\n' "$key"
    cat
    [ ! "$guard" ] || printf '\n\\unrestrict %s\n' "$key"; } | run "$@"
}"""

#: By the finding of the backup that names them.
_TO_SET = {
    "password-taken-out": "The passwords of these are not in the backup, which is not encrypted.",
    "mapping-options-unread": "The options of these are not in the backup: its login could not read them.",
}

#: So many names on one command line, and so many tables in one query.
_NAMES = 400
_TABLES = 200
#: More of what was missed stands in the manifest.
MOST_MISSED = 20


def recover_text(manifest: Manifest, schema: Schema, images: Images | None = None) -> str:
    """`images`: the big files of its trees that are kept as blocks; their listings name them."""
    steps = [*(_sqlite(manifest, manifest.image) if manifest.image else _postgres(manifest, schema))]
    if manifest.files:
        number = 1 + sum(step.startswith("## ") for step in steps)
        steps += files_steps(manifest.files, images or {}, number, unpack, _assembled)
    return "\n\n".join([*_head(manifest), *steps]) + "\n"


def hidden_text(system: str, identifier: str) -> str:
    """What lies in the open beside the backup of an encrypted vault. It names nothing that is in it."""
    return f"""# Recover {system}, backup {identifier}

This backup is encrypted with age (<https://age-encryption.org>). You need the key file (a text that holds a line
beginning with `AGE-SECRET-KEY-1`; there may be a paper copy of it, with a QR code) and the programs `age`, `zstd`
and `sha256sum`. The person who set up the backups knows the place of the key; the key is not in this vault.

## 1. Is everything as it was written?

This needs no key. Go to the folder that this page lies in (of a vault in a bucket, or on another host: bring it here
first). No output means that all is well.

```bash
sha256sum --quiet -c manifest.json.age.sha256
```

## 2. Read how to go on

The commands for this very backup are in `RECOVER.md.age`. Write them to a place that no other account can read:

```bash
(umask 077; age -d -i /path/to/key.txt RECOVER.md.age > ~/RECOVER.md)
```

Then open `~/RECOVER.md` and follow it.
"""


def _head(manifest: Manifest) -> Iterator[str]:
    files = f", {sum(tree.files for tree in manifest.files)} files" if manifest.files else ""
    size = f"{len(manifest.tables)} tables, {manifest.rows} rows{files}"
    yield f"# Recover {manifest.system}, backup {manifest.id}"
    yield (
        f"This is how to rebuild the {manifest.engine.name} database of **{manifest.system}** as it was at"
        f" **{manifest.snapshot_at}** ({size}, {manifest.engine.name} {shown(manifest.engine.version)}), with nothing"
        " but the tools below.\nTake a breath. The steps only read the vault and only write to the new database"
        f"{' and the new folder' if manifest.files else ''} that you name; if one fails, correct what it says and start"
        " again with another new one."
    )
    yield (
        "If the vault is in a bucket or on another host, bring it here first (`aws s3 sync`, `rclone copy`, `sftp -r`):"
        " all of it, or this folder and the files that step 2 names."
    )
    if manifest.scope == "partial":
        yield "**This backup is partial**: only the tables below have rows. Look for a full one first."
    missed = manifest.lacking
    if missed:
        lines = [
            f"- {shown(': '.join([finding.message, *filter(None, ['; '.join(finding.examples[:3])])]))}"
            for finding in missed[:MOST_MISSED]
        ]
        more = f"\n- … and {len(missed) - MOST_MISSED} more" if len(missed) > MOST_MISSED else ""
        yield "**It was not whole when it was made:**\n\n" + "\n".join(lines) + more
    if manifest.left_out:
        lines = [
            f"- {left.kind} `{shown(left.schema)}.{shown(left.name)}`: {shown(left.reason)}"
            for left in manifest.left_out
        ]
        yield "Not in this backup, and why (of a table: its rows):\n\n" + "\n".join(lines)


def _verify(manifest: Manifest) -> str:
    lines = "".join(
        f"{reference.sha256}  {layout.object_key(reference)}\n" for reference in manifest.objects()
    )
    return fenced("bash", f"sha256sum --quiet -c {here_document(lines)}")


# ── PostgreSQL


def _postgres(manifest: Manifest, schema: Schema) -> Iterator[str]:
    kept = {entry.id for entry in manifest.tables}
    hollow = [table.id for table in schema.tables if table.has_rows and table.id not in kept]
    yield f"You need `bash`, `psql`, {_age(manifest)}{NEEDS if manifest.files else ''}`zstd`, `cat` and `sha256sum`, and a PostgreSQL server of the same or a newer major version."
    yield "## 1. Say where"
    yield (
        "Go to the vault (the folder that holds `vault.json`), and name a database that exists and is empty. Stay in"
        " this terminal for all the steps."
    )
    yield fenced(
        "bash", f"cd /path/to/the/vault\nTARGET='postgresql://you@server/new_database'{_files(manifest)}"
    )
    yield from _key(manifest)
    yield "If the database does not exist yet, this makes it as the old one was (change the name and the server):"
    yield fenced("text", _create_database(schema))
    yield "## 2. Check that nothing is damaged"
    yield (
        "Every file is compared with its SHA-256. No output means that all is well. If a file is named as FAILED,"
        " do not go on: take another backup, or a copy of this vault."
    )
    yield _verify(manifest)
    yield "## 3. Get ready"
    yield "These settings make the server read the rows exactly as they were written. They hold for this terminal only."
    yield fenced("bash", _session(manifest, schema))
    if schema.roles:
        yield (
            "The definitions give ownership and rights to these roles. Those that the server lacks are made, without"
            " a password and without the right to log in; set both later."
        )
        yield fenced("bash", f"run {here_document(_roles(schema))}")
        yield from _roles_as_they_were(schema)
    yield "## 4. Definitions"
    yield "Schemas, types, functions, tables: everything that must be there before the rows."
    for section in _sections(manifest, "pre-data"):
        yield fenced("bash", f"{unpack([section])} | guarded {section.plain_sha256} > /dev/null")
    yield from _postgres_rows(manifest, schema)
    yield "## 6. Indexes, keys, triggers"
    if hollow:
        yield ("Some tables have no rows in this backup, so foreign keys that point to them can fail here.")
    yield (
        "This can take longer than the rows did. It goes on after an error. What failed is tried once more with the"
        " database's own search_path, for functions that name things without a schema. What still fails is printed."
    )
    for section in _sections(manifest, "post-data"):
        read = f'TEXT=$({unpack([section])}\n) && later {section.plain_sha256} "$TEXT"'
        yield fenced("bash", f"{{ {read}; }} || false")
    yield from _postgres_finish(manifest, schema)


def _postgres_rows(manifest: Manifest, schema: Schema) -> Iterator[str]:
    yield "## 5. Rows"
    if checks := recover_rules.has_checks(schema):
        yield (
            "A CHECK can have held when a row was written and not today (`valid_until > now()`). So checks are put aside"
            " until the rows are in."
        )
        yield fenced("bash", recover_rules.aside())
    yield "One step a table, in any order: foreign keys do not exist yet, so none can be in the way."
    if any(item.kind == "domain" for item in schema.objects):
        yield (
            "If a step says that a value violates the check of a *domain*: `ALTER DOMAIN … DROP CONSTRAINT …`, run that step"
            " again, and at the end `ALTER DOMAIN … ADD CONSTRAINT … CHECK (…) NOT VALID`."
        )
    for entry in manifest.tables:
        if entry.rows:
            yield f"`{shown(entry.schema)}.{shown(entry.name)}`: {entry.rows} rows"
            yield fenced("bash", _copy(entry))
    if checks:
        yield (
            "The checks are made again. An ERROR here is followed by another try. A check that rows break is made NOT VALID:"
            " it holds for new rows, every row is there, and a line names it."
        )
        yield fenced("bash", recover_rules.made_again(schema))


def _postgres_finish(manifest: Manifest, schema: Schema) -> Iterator[str]:
    yield "## 7. Sequences, views, statistics"
    yield "Sequences go on where they were, so that the first new row gets a free number."
    if views := _refresh(schema):
        yield fenced("bash", recover_rules.refreshed(views))
    yield fenced("bash", f"rows {here_document(_finish(manifest, schema))}")
    if schema.database is not None:
        yield "What the database has besides: rights, settings, its comment and owner. It goes on after an error; read what it says."
        yield fenced("bash", f"run -v ON_ERROR_STOP=0 {here_document(_surroundings(schema.database))}")
    for code, what in _TO_SET.items():
        unset = [name for one in manifest.findings if one.code == code for name in one.examples]
        if unset:
            yield f"{what} Set them again:"
            yield "\n".join(f"- `{shown(name)}`" for name in unset)
    yield "## 8. Look at the result"
    yield "Each table's rows are counted again. Every line must say `ok`."
    for part in _slices(manifest.tables, _TABLES):
        yield fenced("bash", f"run -At {here_document(_counts(part))}")
    yield "This ends with an error if something could not be made, and says what."
    yield fenced("bash", recover_rules.VERDICT)
    yield "Now try the application against it, and write a row, before you let anybody in."


def _create_database(schema: Schema) -> str:
    settings = schema.settings
    options = [("ENCODING", settings.get("encoding")), ("LC_COLLATE", settings.get("collation"))]
    options.append(("LC_CTYPE", settings.get("ctype")))
    if settings.get("locale_provider") == "i":
        options += [("LOCALE_PROVIDER", "icu"), ("ICU_LOCALE", settings.get("icu_locale"))]
    if settings.get("locale_provider") == "b":
        options += [("LOCALE_PROVIDER", "builtin"), ("BUILTIN_LOCALE", settings.get("icu_locale"))]
    chosen = "".join(f"\n  {name} = {literal(value)}" for name, value in options if value)
    statement = f"CREATE DATABASE new_database TEMPLATE = template0{chosen};\n"
    return f"psql -X -d 'postgresql://you@server/postgres' {here_document(statement)}"


def _session(manifest: Manifest, schema: Schema) -> str:
    encoding = manifest.engine.details.get("row_encoding", "UTF8")
    head = manifest.engine.version.partition(".")[0]
    settings = row_text(int(head) if head.isdigit() else 0)
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return (
        "set -o pipefail\n"
        f"export PGCLIENTENCODING={encoding if encoding.isalnum() or '_' in encoding else 'UTF8'}\n"
        f"export PGOPTIONS='{options}'\n"
        f'run() {{ psql -X -q -v ON_ERROR_STOP=1 "$@" -d "$TARGET"; }}\n{_GUARDED}\n{recover_rules.functions(schema)}'
    )


def _roles(schema: Schema) -> str:
    lines = [
        f"SELECT pg_catalog.format('CREATE ROLE %I', {literal(role)}::text)\n"
        f" WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal(role)})\\gexec\n"
        for role in schema.roles
        if not role.startswith("pg_")
    ]
    return "".join(lines)


def _roles_as_they_were(schema: Schema) -> Iterator[str]:
    """Not among the commands: they may make superusers."""
    statements = "".join(f"{text};\n" for text in role_statements(schema.role_definitions))
    if statements:
        yield "So they were, and what they are members of. Run what of this you want; the passwords are not in the backup."
        yield fenced("sql", statements)


def _surroundings(database: Database) -> str:
    # psql puts the name of the database, in quotes, where `:"db"` stands.
    steps = "".join(f"{step.sql};\n" for step in database_steps(database, ':"db"'))
    return f"SELECT pg_catalog.current_database() AS db \\gset\n{steps}"


def _sections(manifest: Manifest, name: str) -> list[ObjectRef]:
    return [section.object for section in manifest.ddl if section.name == name]


def _copy(entry: TableEntry) -> str:
    columns = ", ".join(map(identifier, entry.columns))
    listed = f" ({columns})" if columns else ""
    begin = here_document(f"COPY {_table(entry.id)}{listed} FROM STDIN;\n")
    end = here_document("\\.\n")
    chunks = [chunk.object for chunk in entry.chunks if chunk.rows]
    packs = " &&\n".join(unpack(part) for part in _slices(chunks, _NAMES))
    return f"{{ cat {begin}\n{packs} &&\ncat {end}\n}} | rows"


def unpack(objects: Sequence[ObjectRef]) -> str:
    """The command that writes the contents of these objects, one behind the other."""
    suffix = objects[0].suffix
    program = "plain" if suffix.endswith(".age") else "zstd -dc" if suffix.endswith(".zst") else "cat"
    return f"{program} " + " \\\n  ".join(layout.object_key(reference) for reference in objects)


def _files(manifest: Manifest) -> str:
    return f"\n{variable()}" if manifest.files else ""


def _age(manifest: Manifest) -> str:
    return "`age`, " if manifest.schema.suffix.endswith(".age") else ""


def _key(manifest: Manifest) -> Iterator[str]:
    """What the commands of an encrypted backup need besides: where the key is, and what opens an object."""
    if manifest.schema.suffix.endswith(".age"):
        yield "Every file is encrypted. Say where the key file is, and make the command that opens them:"
        yield fenced("bash", f"KEY=/path/to/key.txt\n{_PLAIN}")


def _refresh(schema: Schema) -> str:
    return "".join(
        f"REFRESH MATERIALIZED VIEW {_table(TableId(found.schema or 'public', found.name))};\n"
        for found in schema.objects
        if found.kind == "materialized view" and not found.definition.rstrip().endswith("WITH NO DATA;")
    )


def _finish(manifest: Manifest, schema: Schema) -> str:
    lines = [
        f"SELECT pg_catalog.setval({literal(_table(TableId(state.schema, state.name)))}, {state.last_value},"
        f" {str(state.is_called).lower()}) \\g /dev/null\n"
        for state in manifest.sequences
    ]
    if schema.settings.get("public_schema") == "absent":
        lines.append("DROP SCHEMA public;\n")
    return "".join([*lines, "ANALYZE;\n"])


def _counts(entries: Sequence[TableEntry]) -> str:
    lines = [
        f"SELECT CASE count(*) WHEN {entry.rows} THEN 'ok' ELSE 'DIFFERENT: ' || count(*) || ' rows, not {entry.rows}' END"
        f" || '  ' || {literal(shown(str(entry.id)))} FROM ONLY {_table(entry.id)};\n"
        for entry in entries
    ]
    return "".join(lines)


def _table(table: TableId) -> str:
    return f"{identifier(table.schema)}.{identifier(table.name)}"


# ── SQLite


def _sqlite(manifest: Manifest, image: FileImage) -> Iterator[str]:
    yield f"You need `bash`, {_age(manifest)}{NEEDS if manifest.files else ''}`zstd`, `cat`, `sha256sum`, `head` and `tail`; and `sqlite3` to look at the result."
    yield "## 1. Say where"
    yield "Go to the vault (the folder that holds `vault.json`), and name a file that does not exist."
    yield fenced("bash", f"cd /path/to/the/vault\nOUT=/path/to/new.db{_files(manifest)}")
    yield from _key(manifest)
    # Without `exit`: pasted into a terminal, it would close it. Without a name, no later step can write.
    yield fenced(
        "bash", '[ ! -e "$OUT" ] || { echo "$OUT exists: name another file, and start again"; OUT=; false; }'
    )
    yield "## 2. Check that nothing is damaged"
    yield (
        "Every file is compared with its SHA-256. No output means that all is well. If a file is named as FAILED,"
        " do not go on: take another backup, or a copy of this vault."
    )
    yield _verify(manifest)
    yield "## 3. Put the file together"
    yield f"The database is a file of {image.size} bytes, kept in pieces; they are written one behind the other."
    yield fenced("bash", ': > "$OUT"')
    simple: list[ObjectRef] = []
    for segment in image.segments:
        if segment.map is None:
            simple += segment.packs
            continue
        if simple:
            yield fenced("bash", _append(simple))
            simple = []
        yield "The next piece changed a little between backups: its blocks are picked from several packs by a list."
        yield fenced("bash", _picked(segment))
    if simple:
        yield fenced("bash", _append(simple))
    yield "## 4. Look at the result"
    yield "The first must say `OK` behind the name, the second `ok`. Then open it with your application, and write a row."
    yield fenced("bash", f'echo "{image.sha256}  $OUT" | sha256sum -c')
    yield fenced("bash", "sqlite3 \"$OUT\" 'pragma integrity_check'")


def _append(packs: Sequence[ObjectRef], out: str = '"$OUT"') -> str:
    return "\n".join(f"{unpack(part)} >> {out}" for part in _slices(packs, _NAMES))


def _picked(segment: Segment, out: str = '"$OUT"') -> str:
    assert segment.map is not None
    unpacked = "\n".join(f"{unpack([pack])} > {out}.{pack.sha256}" for pack in segment.packs)
    removed = " ".join(f"{out}.{pack.sha256}" for pack in segment.packs)
    return (
        f"{unpacked}\n"
        # `tail` is stopped by `head`, which is no failure.
        f"{unpack([segment.map])} | while set +o pipefail; IFS=$'\\t' read -r pack offset length; do\n"
        f'  tail -c "+$((offset + 1))" {out}.$pack | head -c "$length"\n'
        f"done >> {out}\n"
        f"rm {removed}"
    )


def _assembled(image: FileImage, out: str) -> str:
    """A big file of a tree, from its segments."""
    lines = [f": > {out}"]
    for segment in image.segments:
        lines.append(_append(segment.packs, out) if segment.map is None else _picked(segment, out))
    return "\n".join(lines)


def _slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
