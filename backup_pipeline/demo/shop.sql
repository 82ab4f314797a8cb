-- The demo's shop: foreign keys, an enum, a generated column, JSON, arrays, money in numeric, a view, a trigger.
CREATE TYPE order_status AS ENUM ('new', 'paid', 'shipped', 'returned');

CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL UNIQUE,
    name text NOT NULL,
    preferences jsonb NOT NULL DEFAULT '{}',
    joined_at timestamptz NOT NULL
);

CREATE TABLE products (
    id serial PRIMARY KEY,
    sku text NOT NULL UNIQUE,
    title text NOT NULL,
    price numeric(10, 2) NOT NULL CHECK (price > 0),
    tags text[] NOT NULL DEFAULT '{}'
);

CREATE TABLE orders (
    id bigserial PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers ON DELETE CASCADE,
    status order_status NOT NULL DEFAULT 'new',
    placed_at timestamptz NOT NULL,
    note text
);

CREATE TABLE order_items (
    order_id bigint NOT NULL REFERENCES orders ON DELETE CASCADE,
    product_id integer NOT NULL REFERENCES products,
    quantity integer NOT NULL CHECK (quantity > 0),
    unit_price numeric(10, 2) NOT NULL,
    total numeric(12, 2) GENERATED ALWAYS AS (quantity * unit_price) STORED,
    PRIMARY KEY (order_id, product_id)
);

CREATE TABLE payments (
    id bigserial PRIMARY KEY,
    order_id bigint NOT NULL UNIQUE REFERENCES orders ON DELETE CASCADE,
    amount numeric(12, 2) NOT NULL,
    paid_at timestamptz NOT NULL
);

-- Filled by the demo itself, one row a picture that lies in the media folder.
CREATE TABLE product_images (
    id bigserial PRIMARY KEY,
    product_id integer NOT NULL REFERENCES products ON DELETE CASCADE,
    file text NOT NULL UNIQUE,
    checksum text NOT NULL,
    bytes integer NOT NULL
);

CREATE TABLE audit_log (
    id bigserial PRIMARY KEY,
    at timestamptz NOT NULL,
    what text NOT NULL
);

CREATE INDEX orders_by_customer ON orders (customer_id, placed_at DESC);

CREATE VIEW revenue AS
    SELECT date_trunc('month', paid_at) AS month, sum(amount) AS amount FROM payments GROUP BY 1;

INSERT INTO customers (email, name, preferences, joined_at)
SELECT format('customer%s@example.org', n),
       (ARRAY['Ada', 'Grace', 'Zoë', E'O\'Brien', E'tab\there', 'back\slash', '山田'])[1 + n % 7] || ' ' || n,
       jsonb_build_object('newsletter', n % 3 = 0, 'language', (ARRAY['en', 'de', 'fr'])[1 + n % 3]),
       timestamptz '2024-01-01 UTC' + n * interval '3 hours'
FROM generate_series(1, 5000) AS n;

INSERT INTO products (sku, title, price, tags)
SELECT format('SKU-%s', lpad(n::text, 5, '0')), format('Product "%s"', n), 1 + n % 250 + 0.99,
       ARRAY[(ARRAY['lamp', 'chair', 'table'])[1 + n % 3], 'new']
FROM generate_series(1, 400) AS n;

INSERT INTO orders (customer_id, status, placed_at, note)
SELECT 1 + n * 7 % 5000, (ARRAY['new', 'paid', 'shipped', 'returned'])[1 + n % 4]::order_status,
       timestamptz '2025-01-01 UTC' + n * interval '20 minutes',
       CASE WHEN n % 10 = 0 THEN E'first line\nsecond line' END
FROM generate_series(1, 30000) AS n;

INSERT INTO order_items (order_id, product_id, quantity, unit_price)
SELECT o.id, p.id, 1 + o.id % 5, p.price
FROM orders AS o CROSS JOIN generate_series(0, 2) AS k JOIN products AS p ON p.id = 1 + (o.id * 13 + k * 101) % 400;

INSERT INTO payments (order_id, amount, paid_at)
SELECT o.id, sum(i.total), o.placed_at + interval '5 minutes'
FROM orders AS o JOIN order_items AS i ON i.order_id = o.id WHERE o.status <> 'new' GROUP BY o.id;

INSERT INTO audit_log (at, what)
SELECT timestamptz '2025-01-01 UTC' + n * interval '1 minute', format('user %s looked at order %s', n % 40, n % 30000)
FROM generate_series(1, 60000) AS n;

ANALYZE;
