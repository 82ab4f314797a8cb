INSERT INTO users VALUES (1, 'ann@example.org', 'ann'), (2, 'bob@example.org', 'bob');
INSERT INTO orders VALUES (1, 1, 'A-1'), (2, 2, 'B-1');
INSERT INTO notes VALUES (1, 2, 'Bob called'), (2, 1, 'Ann called');
