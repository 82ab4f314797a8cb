INSERT INTO customers VALUES (1, 'ann@example.org'), (500, 'bob@example.org');
INSERT INTO orders VALUES (1, 1, 'O-1'), (900, 500, 'O-900'), (901, 500, 'O-901');
