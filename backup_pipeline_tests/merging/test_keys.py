"""How the rows of a table are known: natural keys, the kind of the generated key, the moment of birth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backup_pipeline.databases.merge.graph import Reference
from backup_pipeline.databases.merge.keys import KeyCandidate, birth_column, generated_key, usable_keys
from backup_pipeline.model.schema import (
    Column,
    ForeignKey,
    Index,
    IndexPart,
    Key,
    Schema,
    SchemaObject,
    Sequence,
    Table,
    TableId,
)

USERS = TableId("public", "users")
COLUMNS = ("id", "email", "tenant", "slug", "deleted_at")
TABLE = Table(
    USERS,
    columns=tuple(Column(name, "text") for name in COLUMNS),
    primary_key=Key("users_pkey", ("id",)),
    uniques=(
        Key("by_slug", ("tenant", "slug")),
        Key("by_email", ("email",), "UNIQUE NULLS NOT DISTINCT (email)"),
    ),
)


def index(name: str, *columns: str, unique: bool = True, where: str | None = None) -> Index:
    return Index(name, "", unique, tuple(IndexPart(column) for column in columns), where)


# Natural keys


def test_unique_constraints_are_keys_the_shortest_first() -> None:
    found = usable_keys(TABLE, COLUMNS, generated="identity")
    assert found.found == (
        KeyCandidate(("email",), "by_email", nulls_equal=True),
        KeyCandidate(("tenant", "slug"), "by_slug"),
    )
    assert found.unused == ()


def test_a_primary_key_that_no_generator_fills_is_a_key() -> None:
    assert usable_keys(TABLE, COLUMNS).found[0] == KeyCandidate(("id",), "users_pkey")
    nameless = replace(TABLE, primary_key=Key("", ("tenant", "slug")), uniques=())
    assert usable_keys(nameless, COLUMNS).found == (KeyCandidate(("tenant", "slug"), "the primary key"),)


def test_a_table_without_keys_has_none() -> None:
    bare = replace(TABLE, primary_key=None, uniques=())
    assert usable_keys(bare, COLUMNS).found == ()


def test_the_keys_of_a_rule_come_first_and_once() -> None:
    found = usable_keys(TABLE, COLUMNS, generated="uuid", natural=[("slug", "tenant"), ("deleted_at",)])
    assert [(one.columns, one.enforced) for one in found.found] == [
        (("slug", "tenant"), False),
        (("deleted_at",), False),
        (("email",), True),
    ]
    assert found.found[0].name == "the rule's key (slug, tenant)"


def test_a_unique_index_is_a_key_and_one_on_an_expression_is_not() -> None:
    lower = Index("by_lower", "", True, (IndexPart("tenant"), IndexPart("", "lower(email)")))
    old = Index("of_an_old_backup", "", False)
    indexed = replace(
        TABLE,
        uniques=(),
        indexes=(index("by_slug", "slug"), index("plain", "email", unique=False), lower, old),
    )
    found = usable_keys(indexed, COLUMNS, generated="identity")
    assert found.found == (KeyCandidate(("slug",), "by_slug"),)
    assert found.unused == ("by_lower is on an expression",)


def test_a_partial_unique_index_is_a_key_with_its_condition() -> None:
    soft = replace(
        TABLE,
        uniques=(),
        indexes=(index("alive", "email", where="(deleted_at IS NULL)"), index("all", "email")),
    )
    assert [(one.columns, one.where) for one in usable_keys(soft, COLUMNS, generated="rowid").found] == [
        (("email",), ""),
        (("email",), "(deleted_at IS NULL)"),
    ]


@pytest.mark.parametrize(
    ("given", "unused"),
    [
        (("id", "tenant", "slug", "deleted_at"), "alive has email, which the backup has not"),
        (("id", "tenant", "slug", "email"), "alive has deleted_at, which the backup has not"),
    ],
)
def test_a_key_with_a_column_that_the_backup_has_not_does_not_count(
    given: tuple[str, ...], unused: str
) -> None:
    soft = replace(TABLE, uniques=(), indexes=(index("alive", "email", where="(deleted_at IS NULL)"),))
    found = usable_keys(soft, given, generated="identity")
    assert (found.found, found.unused) == ((), (unused,))


def test_a_generated_key_is_a_natural_key_where_a_rule_says_so() -> None:
    found = usable_keys(TABLE, COLUMNS, generated="identity", natural=[("id",)])
    assert found.found[0].columns == ("id",)


def test_a_key_around_a_generated_key_names_no_row_elsewhere() -> None:
    composite = replace(TABLE, uniques=(Key("by_tenant", ("tenant", "id")), Key("again", ("id",))))
    found = usable_keys(composite, COLUMNS, generated="identity")
    assert found.found == ()
    assert found.unused == ("by_tenant has id, a generated key, and names a row in this database only",)
    assert [one.name for one in usable_keys(composite, COLUMNS).found] == ["users_pkey", "by_tenant"]


def test_a_column_that_names_no_row_by_its_rule_makes_no_key() -> None:
    found = usable_keys(TABLE, COLUMNS, generated="identity", natural=[("slug",)], no_key=["slug"])
    assert [one.columns for one in found.found] == [("slug",), ("email",)]
    assert found.unused == ("by_slug has slug, which names no row by its rule",)


# Generated keys


def keyed(type_: str, *, name: str = "id", default: str | None = None, identity: str | None = None) -> Table:
    return Table(
        USERS, columns=(Column(name, type_, False, default, identity),), primary_key=Key("pk", (name,))
    )


@pytest.mark.parametrize(
    ("engine", "table", "kind"),
    [
        ("postgres", keyed("bigint", identity="always"), "identity"),
        ("postgres", keyed("bigint", identity="by default"), "identity"),
        ("postgres", keyed("integer", default="nextval('public.users_id_seq'::regclass)"), "sequence"),
        ("postgres", keyed("bigint"), ""),
        ("postgres", keyed("text"), ""),
        ("postgres", keyed("uuid"), "uuid"),
        ("postgres", keyed("uuid", default="gen_random_uuid()"), "uuid"),
        ("postgres", keyed("text", default="(gen_random_uuid())::text"), "uuid"),
        ("postgres", keyed("character varying(36)", name="user_uuid"), "uuid"),
        ("postgres", keyed("character(36)"), "uuid"),
        ("postgres", keyed("character(32)", name="md5"), ""),
        ("postgres", keyed("character varying(36)"), ""),
        ("postgres", keyed("bytea", name="guid"), "uuid"),
        ("postgres", keyed("bigint", name="uuid_number"), ""),
        ("postgres", keyed('public."Uid"'), "uuid"),
        ("sqlite", keyed("INTEGER", identity="by default"), "rowid"),
        ("sqlite", keyed("INTEGER"), ""),
        ("sqlite", keyed("char(32)"), "uuid"),
        ("sqlite", keyed("char(32)", name="digest"), ""),
        ("sqlite", keyed("BLOB", default="(randomblob(16))"), "uuid"),
        ("sqlite", keyed("TEXT", name="uuid"), "uuid"),
        ("sqlite", keyed("UUID"), "uuid"),
        ("sqlite", keyed("TEXT"), ""),
        ("sqlite", keyed("UNIQUEIDENTIFIER"), "uuid"),
    ],
)  # fmt: skip
def test_the_kind_of_a_generated_key(engine: str, table: Table, kind: str) -> None:
    domain = SchemaObject("domain", "Uid", 'CREATE DOMAIN public."Uid" AS uuid NOT NULL;', "public")
    assert generated_key(table, Schema(engine, (table,), objects=(domain,))) == kind


def test_a_sequence_that_belongs_to_the_key_fills_it() -> None:
    table = keyed("bigint")
    sequence = Sequence(TableId("public", "s"), owned_by=USERS, owned_by_column="id")
    assert generated_key(table, Schema("postgres", (table,), (sequence,))) == "sequence"


def test_a_composite_key_and_a_missing_key_are_no_generated_key() -> None:
    table = keyed("uuid")
    schema = Schema("postgres", (table,))
    two = replace(table, columns=(*table.columns, Column("n", "uuid")), primary_key=Key("pk", ("id", "n")))
    assert [generated_key(one, schema) for one in (two, replace(table, primary_key=None))] == ["", ""]


def test_the_key_of_a_parent_is_no_generated_key() -> None:
    table = keyed("uuid", name="user_id", default="gen_random_uuid()")
    schema = Schema("postgres", (table,))
    parent = ForeignKey("fk", ("user_id",), TableId("public", "people"), ("id",))
    virtual = Reference(
        table=USERS,
        columns=("user_id",),
        parent=TableId("public", "people"),
        referenced=("id",),
        name="users.user_id",
    )
    assert generated_key(table, schema) == "uuid"
    assert generated_key(replace(table, foreign_keys=(parent,)), schema) == ""
    assert generated_key(table, schema, [virtual]) == ""
    assert generated_key(table, schema, [replace(virtual, table=TableId("public", "x"))]) == "uuid"


# Birth


def born(
    *columns: tuple[str, str],
    engine: str = "postgres",
    rule: str = "",
    objects: tuple[SchemaObject, ...] = (),
) -> str:
    table = Table(USERS, columns=tuple(Column(*one) for one in columns))
    return birth_column(table, Schema(engine, (table,), objects=objects), rule)


MOMENT = "timestamp with time zone"


@pytest.mark.parametrize(
    ("engine", "name", "type_", "found"),
    [
        ("postgres", "created_at", MOMENT, True),
        ("postgres", "createdAt", "timestamp(3) without time zone", True),
        ("postgres", "CreatedOn", MOMENT, True),
        ("postgres", "date_joined", MOMENT, True),
        ("postgres", "created", "date", False),
        ("postgres", "created_at", "text", False),
        ("postgres", "created_at", "time without time zone", False),
        ("postgres", "updated_at", MOMENT, False),
        ("postgres", "created_by", MOMENT, False),
        ("postgres", "created", "public.moment", True),
        ("sqlite", "created", "datetime", True),
        ("sqlite", "created_at", "TIMESTAMP", True),
        ("sqlite", "created_at", "TEXT", True),
        ("sqlite", "created_at", "varchar(30)", True),
        ("sqlite", "created_at", "date", False),
        ("sqlite", "created_at", "INTEGER", False),
    ],
)
def test_the_moment_of_birth_is_known_by_name_and_type(
    engine: str, name: str, type_: str, found: bool
) -> None:
    domain = SchemaObject("domain", "moment", f"CREATE DOMAIN public.moment AS {MOMENT};", "public")
    assert born(("id", "bigint"), (name, type_), engine=engine, objects=(domain,)) == (name if found else "")


def test_the_first_known_name_decides_and_a_rule_decides_before() -> None:
    columns = (("registered_at", MOMENT), ("date_joined", MOMENT), ("created", "date"))
    assert born(*columns) == "date_joined"
    assert born(*columns, rule="registered_at") == "registered_at"
    assert born(*columns, rule="created") == "created"
    assert born(*columns, rule="gone") == ""


def test_a_generated_column_is_no_moment_of_birth() -> None:
    table = Table(USERS, columns=(Column("created_at", MOMENT, generated="now()"),))
    assert birth_column(table, Schema("postgres", (table,))) == ""


def trigger(event: str, *, call: str = "public.touch()", on: TableId = USERS) -> SchemaObject:
    text = f"CREATE TRIGGER update_it BEFORE {event} ON public.users FOR EACH ROW EXECUTE FUNCTION {call};"
    return SchemaObject("trigger", "update_it", text, "public", on)


def function(body: str) -> SchemaObject:
    return SchemaObject("function", "touch()", f"CREATE FUNCTION public.touch() … $${body}$$;", "public")


@pytest.mark.parametrize(
    ("objects", "known"),
    [
        ((trigger("UPDATE"), function("NEW.created_at := now();")), False),
        ((trigger("INSERT OR UPDATE"), function('new."created_at" = now();')), False),
        ((trigger("UPDATE", call="public.moddatetime('created_at')"),), False),
        ((trigger("INSERT"), function("NEW.created_at := now();")), True),
        ((trigger("UPDATE"), function("NEW.updated_at := now();")), True),
        ((trigger("UPDATE"), function("NEW.created_at := OLD.created_at;")), True),
        ((trigger("UPDATE", on=TableId("public", "x")), function("NEW.created_at := now();")), True),
        ((trigger("UPDATE"),), True),
    ],
)
def test_a_column_that_a_trigger_sets_on_update_is_no_moment_of_birth(
    objects: tuple[SchemaObject, ...], known: bool
) -> None:
    assert born(("created_at", MOMENT), objects=objects) == ("created_at" if known else "")


@pytest.mark.parametrize(
    ("body", "known"),
    [
        ("UPDATE users SET n = 1, created_at = datetime('now') WHERE id = new.id;", False),
        ("UPDATE users SET n = 1 WHERE created_at = new.created_at;", True),
        ("UPDATE users SET updated_at = datetime('now') WHERE id = new.id;", True),
    ],
)
def test_a_trigger_of_sqlite_is_read_as_well(body: str, known: bool) -> None:
    text = f'CREATE TRIGGER "on update" AFTER UPDATE ON users BEGIN {body} END'
    made = SchemaObject("trigger", "on update", text, "main", USERS)
    assert born(("created_at", "datetime"), engine="sqlite", objects=(made,)) == (
        "created_at" if known else ""
    )
