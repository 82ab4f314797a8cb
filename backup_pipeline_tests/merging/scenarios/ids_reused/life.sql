DELETE FROM orders WHERE customer_id IN (39, 40);
DELETE FROM customers WHERE id IN (39, 40);
INSERT INTO customers (id, email, name) VALUES (39, 'dora@example.org', 'Dora'), (41, 'emil@example.org', 'Emil');
INSERT INTO orders (id, customer_id, number, total) VALUES (39, 39, 'N-1', 5), (41, 1, 'N-2', 6), (43, 41, 'N-3', 7);
UPDATE orders SET total = 99 WHERE id = 3;
