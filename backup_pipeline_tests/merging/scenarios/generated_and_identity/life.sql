DELETE FROM lines WHERE id > 1;
DELETE FROM bills WHERE id > 1;
ALTER TABLE bills ALTER COLUMN id RESTART WITH 2;
INSERT INTO bills (net, tax, number) VALUES (50, 5, 'B-9');
INSERT INTO lines (bill_id, what) VALUES (2, 'wine');
UPDATE bills SET tax = 2 WHERE id = 1;
