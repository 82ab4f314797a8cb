INSERT INTO products (id, sku, price, stock)
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30) SELECT i, 'P-' || i, i * 100, i FROM n;
INSERT INTO orders (id, product_id, paid) SELECT id, id, price FROM products WHERE id < 10;
