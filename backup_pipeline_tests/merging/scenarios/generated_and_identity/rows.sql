INSERT INTO bills (net, tax, number) VALUES (10, 1, 'B-1'), (20, 2, 'B-2'), (30, 3, 'B-3');
INSERT INTO lines (bill_id, what) VALUES (1, 'tea'), (2, 'milk'), (3, 'bread');
