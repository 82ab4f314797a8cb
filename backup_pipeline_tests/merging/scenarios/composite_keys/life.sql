DELETE FROM payments WHERE shop_id = 2;
DELETE FROM invoices WHERE shop_id = 2;
DELETE FROM shops WHERE id = 2;
INSERT INTO shops VALUES (2, 'west');
INSERT INTO invoices VALUES (2, 1, 99), (1, 3, 98);
INSERT INTO payments VALUES (2, 2, 1, 99, 'w1');
