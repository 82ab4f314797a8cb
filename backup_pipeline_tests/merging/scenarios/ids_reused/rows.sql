INSERT INTO customers (id, email, name)
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) SELECT i, 'c' || i || '@example.org', 'customer ' || i FROM n;
INSERT INTO orders (id, customer_id, number, total) SELECT id, id, 'O-' || id, id * 10 FROM customers;
INSERT INTO orders (id, customer_id, number, total) VALUES (41, 40, 'O-41', 1), (42, 39, 'O-42', 2);
