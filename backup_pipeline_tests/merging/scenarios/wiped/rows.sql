INSERT INTO customers (id, email, referred_by)
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) SELECT i, 'c' || i, CASE WHEN i > 1 THEN i - 1 END FROM n;
INSERT INTO orders (id, customer_id, total) SELECT id + 100, id, 10 FROM customers;
INSERT INTO lines (order_id, n, what) SELECT id, 1, 'tea' FROM orders UNION ALL SELECT id, 2, NULL FROM orders;
