"""The shop's database: what the application (and a bad Friday evening) does to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import ClassVar

import psycopg

from backup_pipeline.demo.media import Picture, count, invoices, product_pictures, remove

#: What the shop knows about itself; asked before the disaster and after the restore.
_QUESTIONS = (
    ("customers", "SELECT count(*) FROM customers"),
    ("orders", "SELECT count(*) FROM orders"),
    ("order_items", "SELECT count(*) FROM order_items"),
    ("payments", "SELECT count(*) FROM payments"),
    ("revenue", "SELECT coalesce(sum(amount), 0) FROM payments"),
    ("sum of all prices", "SELECT sum(price) FROM products"),
    ("rows of pictures", "SELECT count(*) FROM product_images"),
)

#: What a merge must bring back: rows of the backup. An order above 30,300 was made later.
_LOST = (
    ("customers", "SELECT count(*) FROM customers WHERE id <= 5000"),
    ("orders", "SELECT count(*) FROM orders WHERE id <= 30300"),
    ("order_items", "SELECT count(*) FROM order_items WHERE order_id <= 30300"),
    ("paid for them", "SELECT coalesce(sum(amount), 0) FROM payments WHERE order_id <= 30300"),
    ("sum of all prices", "SELECT sum(price) FROM products"),
)
#: What a merge must leave alone: what the shop has done since.
_MADE = (
    ("new customers", "SELECT count(*) FROM customers WHERE id > 5000"),
    ("new orders", "SELECT count(*) FROM orders WHERE id > 30300"),
    ("sold by them", "SELECT coalesce(sum(total), 0) FROM order_items WHERE order_id > 30300"),
    ("parcels sent", "SELECT count(*) FROM orders WHERE note = 'sent today'"),
)
PRODUCTS = range(1, 401)
INVOICES = range(1, 301)
NEW_INVOICES = range(301, 321)

_TRADING = (
    "INSERT INTO orders (customer_id, status, placed_at)"
    " SELECT 1 + n % 5000, 'paid', timestamptz '2026-11-20 UTC' + n * interval '1 minute'"
    " FROM generate_series(1, 300) AS n",
    "INSERT INTO order_items (order_id, product_id, quantity, unit_price)"
    " SELECT o.id, 1 + o.id % 400, 1, p.price FROM orders AS o JOIN products AS p ON p.id = 1 + o.id % 400"
    " WHERE NOT EXISTS (SELECT FROM order_items AS i WHERE i.order_id = o.id)",
    "INSERT INTO payments (order_id, amount, paid_at)"
    " SELECT o.id, sum(i.total), o.placed_at FROM orders AS o JOIN order_items AS i ON i.order_id = o.id"
    " WHERE o.placed_at >= '2026-11-20 UTC' GROUP BY o.id",
)

#: A migration on Friday evening: a forgotten WHERE, a cascade, a dropped table; and a clean-up of pictures that
#: takes the rows and the files together.
DISASTER = (
    "UPDATE products SET price = 0.01",
    "DELETE FROM customers WHERE id % 2 = 0",
    "DROP TABLE payments CASCADE",
    "DELETE FROM product_images WHERE product_id >= 100",
)
#: A script on the living shop: too many customers go, with their orders, and a comma is in the wrong place.
DAMAGE = (
    "DELETE FROM customers WHERE id % 50 = 0",
    "UPDATE products SET price = price / 100 WHERE tags @> '{lamp}'",
)
#: What happens in the shop at the same time.
_MEANWHILE = (
    "INSERT INTO customers (email, name, joined_at) VALUES ('linus@example.org', 'Linus', now())",
    "INSERT INTO orders (customer_id, status, placed_at) SELECT 1 + n * 50, 'paid', now() FROM generate_series(1, 40) AS n",
    "INSERT INTO order_items (order_id, product_id, quantity, unit_price) SELECT id, 7, 2, 8.99 FROM orders WHERE id > 30300",
    "UPDATE orders SET status = 'shipped', note = 'sent today' WHERE customer_id % 500 = 7",
)
LOST_FOLDERS = ("products/01", "products/02", "products/03", "products/04")


@dataclass(frozen=True, slots=True)
class Shop:
    url: str
    LOST: ClassVar = tuple(name for name, _ in _LOST)
    MADE: ClassVar = tuple(name for name, _ in _MADE)
    #: Pictures of products, which rows name, and invoices, which none does.
    media: Path

    def open_for_business(self) -> None:
        self._run([resources.files("backup_pipeline.demo").joinpath("shop.sql").read_text(encoding="utf-8")])
        self._show(zip(PRODUCTS, product_pictures(self.media, PRODUCTS), strict=True))
        for _ in invoices(self.media, INVOICES):
            pass

    def trade_for_a_day(self) -> None:
        self._run(_TRADING)
        for _ in invoices(self.media, NEW_INVOICES):
            pass

    def suffer(self) -> None:
        self._run(DISASTER)
        for folder in LOST_FOLDERS:
            for found in sorted(self.media.glob(f"{folder}*")):
                remove(self.media, str(found.relative_to(self.media)))

    def live_on(self) -> None:
        """The damage, and what customers do meanwhile."""
        self._run((*DAMAGE, *_MEANWHILE))

    def living_facts(self) -> dict[str, str]:
        return self._asked((*_LOST, *_MADE))

    def _show(self, pictures: Iterable[tuple[int, Picture]]) -> None:
        with psycopg.connect(self.url) as connection:
            connection.cursor().executemany(
                "INSERT INTO product_images (product_id, file, checksum, bytes) VALUES (%s, %s, %s, %s)",
                [(product, one.path, one.sha256, one.size) for product, one in pictures],
            )

    def out_of_step(self) -> int:
        """Rows whose picture is not there, or is another one."""
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("SELECT file, checksum FROM product_images").fetchall()
        return sum(1 for file, checksum in rows if _digest(self.media / file) != checksum)

    def facts(self) -> dict[str, str]:
        found = self._asked(_QUESTIONS)
        found["files on disk"] = f"{count(self.media):,}"
        found["rows out of step"] = f"{self.out_of_step():,}"
        return found

    def _asked(self, questions: Sequence[tuple[str, str]]) -> dict[str, str]:
        found: dict[str, str] = {}
        with psycopg.connect(self.url) as connection:
            for name, question in questions:
                try:
                    with connection.transaction():
                        row = connection.execute(question.encode()).fetchone()
                except psycopg.errors.UndefinedTable:
                    found[name] = "no such table"
                else:
                    found[name] = f"{row[0]:,}" if row else "nothing"
        return found

    def first_new_order(self) -> int:
        """The write that fails after so many restores: it needs the sequence to be where it was."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(
                "INSERT INTO orders (customer_id, status, placed_at) VALUES (2, 'new', now()) RETURNING id"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def _run(self, statements: Sequence[str]) -> None:
        with psycopg.connect(self.url) as connection:
            for statement in statements:
                connection.execute(statement.encode())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
