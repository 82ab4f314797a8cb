UPDATE products SET price = 1 WHERE id <= 20;
INSERT INTO products VALUES (31, 'P-31', 55, 5);
INSERT INTO orders VALUES (10, 3, 1), (11, 31, 55);
DELETE FROM orders WHERE id = 1;
