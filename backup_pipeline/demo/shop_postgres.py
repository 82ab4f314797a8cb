"""The shop's database: what the application (and a bad Friday evening) does to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import psycopg

#: What the shop knows about itself; asked before the disaster and after the restore.
_QUESTIONS = (
    ("customers", "SELECT count(*) FROM customers"),
    ("orders", "SELECT count(*) FROM orders"),
    ("order_items", "SELECT count(*) FROM order_items"),
    ("payments", "SELECT count(*) FROM payments"),
    ("revenue", "SELECT coalesce(sum(amount), 0) FROM payments"),
    ("sum of all prices", "SELECT sum(price) FROM products"),
)

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

#: A migration on Friday evening: a forgotten WHERE, a cascade, a dropped table.
DISASTER = (
    "UPDATE products SET price = 0.01",
    "DELETE FROM customers WHERE id % 2 = 0",
    "DROP TABLE payments CASCADE",
)


@dataclass(frozen=True, slots=True)
class Shop:
    url: str

    def open_for_business(self) -> None:
        self._run([resources.files("backup_pipeline.demo").joinpath("shop.sql").read_text(encoding="utf-8")])

    def trade_for_a_day(self) -> None:
        self._run(_TRADING)

    def suffer(self) -> None:
        self._run(DISASTER)

    def facts(self) -> dict[str, str]:
        found: dict[str, str] = {}
        with psycopg.connect(self.url) as connection:
            for name, question in _QUESTIONS:
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
