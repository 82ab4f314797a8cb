INSERT INTO products (id, sku, price) VALUES (1, 'P-1', 10), (2, 'P-2', 20), (3, 'P-3', 30);
