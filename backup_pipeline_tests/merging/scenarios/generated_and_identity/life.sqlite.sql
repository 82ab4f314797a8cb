DELETE FROM lines WHERE id > 1;
DELETE FROM bills WHERE id > 1;
INSERT INTO bills (id, net, tax, number) VALUES (2, 50, 5, 'B-9');
INSERT INTO lines (bill_id, what) VALUES (2, 'wine');
UPDATE bills SET tax = 2 WHERE id = 1;
