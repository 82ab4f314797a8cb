INSERT INTO customers VALUES (1, 'ann@example.org', 'Ann'), (2, 'bob@example.org', 'Bob');
INSERT INTO orders VALUES (1, 1, 'O-1');
INSERT INTO notes VALUES (1, 1, 'called');
