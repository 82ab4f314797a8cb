DELETE FROM orders WHERE id > 1;
DELETE FROM customers WHERE id > 1;
UPDATE sqlite_sequence SET seq = 1 WHERE name = 'orders';
INSERT INTO orders (customer_id, number) VALUES (1, 'O-2');
