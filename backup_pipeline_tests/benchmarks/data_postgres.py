"""The databases that are measured: wide rows, narrow rows, numerics, and many small tables."""

from __future__ import annotations

import psycopg

WIDE = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE wide (
    id bigint PRIMARY KEY, key uuid NOT NULL, at timestamptz NOT NULL, amount numeric(12, 2), note text,
    payload jsonb, flag boolean, feeling mood, tags text[]
);
INSERT INTO wide
SELECT n, md5(n::text)::uuid, timestamptz '2020-01-01 UTC' + n * interval '1 minute', (n % 100000) / 100.0,
       md5((n * 7)::text) || ' the order was sent to ' || md5((n * 11)::text),
       jsonb_build_object('k', n, 'word', md5((n * 3)::text), 'seen', n % 1000, 'from', 'newsletter'), n % 2 = 0,
       (ARRAY['sad', 'ok', 'happy'])[1 + n % 3]::mood, ARRAY[left(md5((n * 5)::text), 8), 'x']
FROM generate_series(1, {rows}) AS n;
"""

LINEITEM = """
CREATE TABLE lineitem (
    orderkey bigint, partkey int, suppkey int, linenumber int, quantity numeric(15, 2), price numeric(15, 2),
    discount numeric(15, 2), tax numeric(15, 2), flag char(1), status char(1), shipped date, committed date,
    received date, instruct char(25), mode char(10), comment varchar(44), PRIMARY KEY (orderkey, linenumber)
);
INSERT INTO lineitem
SELECT n / 4, (n * 31) % 200000, (n * 17) % 10000, n % 4, n % 50, (n % 90000) + 0.17, (n % 11) / 100.0, (n % 9) / 100.0,
       substr('ANR', 1 + (n % 3)::int, 1), substr('OF', 1 + (n % 2)::int, 1), date '1992-01-01' + (n % 2500)::int,
       date '1992-01-01' + (n % 2500)::int + 20, date '1992-01-01' + (n % 2500)::int + 30, 'DELIVER IN PERSON',
       'TRUCK', substr(md5(n::text), 1, 10 + (n % 20)::int)
FROM generate_series(1, {rows}) AS n;
"""

ACCOUNTS = """
CREATE TABLE accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
INSERT INTO accounts SELECT n, n / 100000, 0, '' FROM generate_series(1, {rows}) AS n;
"""

SMALL = """
CREATE TABLE small_{n} (id serial PRIMARY KEY, name text, at timestamptz DEFAULT now());
INSERT INTO small_{n} (name) SELECT md5(i::text) FROM generate_series(1, 50) AS i;
"""

#: One row in a hundred comes new, at the end: what a day does to most tables.
APPEND = (
    "INSERT INTO wide SELECT id + (SELECT max(id) FROM wide), key, at, amount, note, payload, flag, feeling, tags"
    " FROM wide WHERE id % 100 = 0"
)


def wide(url: str, rows: int) -> None:
    _run(url, WIDE.format(rows=rows))


def whole(url: str, scale: float) -> None:
    """At scale 1: 2M wide, 4M lineitem, 5M accounts and 300 small tables, about 2.3 GB of heap."""
    wide(url, int(2_000_000 * scale))
    _run(url, LINEITEM.format(rows=int(4_000_000 * scale)))
    _run(url, ACCOUNTS.format(rows=int(5_000_000 * scale)))
    _run(url, *(SMALL.format(n=n) for n in range(300)))


def tiny(url: str) -> None:
    _run(url, *(SMALL.format(n=n) for n in range(12)))


def append(url: str) -> None:
    _run(url, APPEND)


def _run(url: str, *scripts: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for script in scripts:
            connection.execute(script.encode())
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
