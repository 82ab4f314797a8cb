DELETE FROM orders WHERE id > 1;
DELETE FROM customers WHERE id > 1;
SELECT setval('customers_id_seq', 1), setval('orders_id_seq', 1);
INSERT INTO orders (customer_id, number) VALUES (1, 'O-2');
