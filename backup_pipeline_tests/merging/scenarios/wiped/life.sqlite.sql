DELETE FROM lines;
DELETE FROM orders;
UPDATE customers SET referred_by = NULL;
DELETE FROM customers;
