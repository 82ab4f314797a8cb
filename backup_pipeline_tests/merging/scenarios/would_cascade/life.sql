UPDATE customers SET name = 'XXX';
INSERT INTO customers VALUES (3, 'cid@example.org', 'Cid'), (4, 'dan@example.org', 'Dan'), (5, 'eve@example.org', 'Eve');
INSERT INTO orders VALUES (2, 1, 'O-2'), (3, 3, 'O-3');
INSERT INTO notes VALUES (2, 4, 'wrote');
