"""Small vaults made by hand: row text and manifests as FORMAT.md describes them, without a server and without `backup`.

A test writes the format here as a stranger would write it. So it also shows that the readers read the format, and not
just the output of our own writer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backup_pipeline.model import canonical
from backup_pipeline.model.manifest import (
    Chunk,
    DdlSection,
    Engine,
    FileTree,
    LeftOut,
    Manifest,
    SequenceState,
    TableEntry,
)
from backup_pipeline.model.orders import Kind
from backup_pipeline.model.schema import (
    Column,
    ForeignKey,
    Key,
    Schema,
    Table,
    TableId,
)
from backup_pipeline.model.schema import Sequence as DatabaseSequence
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault


def identifier_of(number: int) -> str:
    """2026-11-0NT02-00-00-000Z, the n-th night of November."""
    return f"2026-11-{number:02d}T02-00-00-000Z"


@dataclass
class Made:
    """One table: its definition, and its row text in chunks."""

    table: Table
    chunks: list[bytes] = field(default_factory=list)


def table(
    name: str,
    columns: dict[str, str],
    *chunks: bytes,
    key: Sequence[str] = ("id",),
    references: Sequence[ForeignKey] = (),
    schema: str = "public",
    **more: object,
) -> Made:
    """`table("orders", {"id": "integer"}, b"1\\n2\\n")`."""
    primary = Key(f"{name}_pkey", tuple(key)) if key else None
    made = Table(
        TableId(schema, name),
        columns=tuple(Column(column, kind) for column, kind in columns.items()),
        primary_key=primary,
        foreign_keys=tuple(references),
    )
    return Made(replace(made, **more), list(chunks))  # type: ignore[arg-type]


def foreign_key(columns: str, references: str, referenced: str = "id", **more: object) -> ForeignKey:
    """`foreign_key("customer_id", "customers")`; several columns with blanks between them."""
    made = ForeignKey(
        f"{columns.replace(' ', '_')}_fkey",
        tuple(columns.split()),
        TableId("public", references),
        tuple(referenced.split()),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def prepared(folder: Path) -> Vault:
    vault = Vault(LocalStore(folder))
    vault.prepare()
    return vault


def entry_of(vault: Vault, made: Made) -> TableEntry:
    columns = made.table.exported_columns
    digest = hashlib.sha256("\n".join(columns).encode())
    chunks = []
    for number, text in enumerate(made.chunks):
        reference = vault.writer.write_bytes(text, ".tsv.zst")
        digest.update(bytes.fromhex(reference.plain_sha256))
        end = None if number == len(made.chunks) - 1 else 10 * (number + 1)
        chunks.append(Chunk(reference, text.count(b"\n"), first_page=10 * number, end_page=end))
    return TableEntry(
        made.table.id.schema,
        made.table.id.name,
        sum(chunk.rows for chunk in chunks),
        columns,
        tuple(chunks),
        bytes=sum(chunk.object.plain_size for chunk in chunks),
        fingerprint=digest.hexdigest(),
    )


def back_up_by_hand(
    vault: Vault,
    tables: Sequence[Made],
    number: int = 1,
    *,
    system: str = "shop",
    left_out: Sequence[LeftOut] = (),
    schema: Schema | None = None,
    unlisted: Sequence[Table] = (),
    files: Sequence[FileTree] = (),
    identifier: str = "",
    kind: Kind = "manual",
) -> Manifest:
    """Write everything in the order of rule V7. `unlisted`: tables of the schema that the manifest does not hold."""
    made = schema or Schema("postgres", tables=(*(one.table for one in tables), *unlisted))
    recover = f"# Recover {system} {number}\n"
    earlier = vault.ids(system)
    manifest = Manifest(
        system=system,
        id=identifier or identifier_of(number),
        kind=kind,
        scope="partial" if kind == "pre-restore" else "full",
        started_at=f"2026-11-{number:02d}T02:00:00.000000Z",
        snapshot_at=f"2026-11-{number:02d}T02:00:00.500000Z",
        finished_at=f"2026-11-{number:02d}T02:00:01.000000Z",
        engine=Engine("postgres", "16.1", {"row_encoding": "UTF8"}),
        schema=vault.writer.write_bytes(canonical.encode(made), ".json.zst"),
        tables=tuple(entry_of(vault, one) for one in tables),
        ddl=(
            DdlSection("pre-data", vault.writer.write_bytes(b"-- before\n", ".sql.zst"), "hand"),
            DdlSection("post-data", vault.writer.write_bytes(b"-- after\n", ".sql.zst"), "hand"),
        ),
        sequences=tuple(SequenceState(s.id.schema, s.id.name, 7, is_called=True) for s in made.sequences),
        left_out=tuple(left_out),
        files=tuple(files),
        recover_sha256=hashlib.sha256(recover.encode()).hexdigest(),
        previous=vault.backup(system, earlier[-1]).link if earlier else None,
    )
    vault.commit(manifest, recover)
    return manifest


def shop(night: int) -> tuple[Made, ...]:
    """A shop that grows: the first chunk of its orders stays the same from night to night."""
    customers = b"".join(b"%d\tCustomer %d\t\\N\n" % (number, number) for number in range(1, 40))
    old = b"".join(b"%d\t%d\tfirst\\torder\n" % (number, number % 39 + 1) for number in range(1, 300))
    new = b"".join(
        b"%d\t%d\tnight %d\n" % (number, number % 39 + 1, night) for number in range(300, 340 + night)
    )
    lines = b"".join(
        b"%d\t%d\t%d.50\n" % (number, number % 290 + 1, number + night) for number in range(1, 200)
    )
    return (
        table("customers", {"id": "integer", "name": "text", "mail": "text"}, customers),
        table(
            "orders",
            {"id": "bigint", "customer_id": "integer", "note": "text"},
            old,
            new,
            references=[foreign_key("customer_id", "customers")],
        ),
        table(
            "lines",
            {"id": "integer", "order_id": "bigint", "price": "numeric(10,2)"},
            lines[: lines.index(b"\n", 1500) + 1],
            lines[lines.index(b"\n", 1500) + 1 :],
            references=[foreign_key("order_id", "orders")],
        ),
        table("audit", {"at": "timestamp with time zone"}, key=()),
        table("nothing", {}, b"\n\n\n", key=()),
    )


def shop_vault(folder: Path, nights: int = 3) -> Vault:
    """Three backups of the shop, the third of which is the newest."""
    vault = prepared(folder)
    sequence = DatabaseSequence(TableId("public", "orders_id_seq"))
    for night in range(1, nights + 1):
        made = shop(night)
        schema = Schema("postgres", tuple(one.table for one in made), (sequence,))
        back_up_by_hand(vault, made, night, schema=schema)
    return vault
