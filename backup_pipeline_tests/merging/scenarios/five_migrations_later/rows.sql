INSERT INTO products VALUES (1, 'P-1', 100, 'old', 'live'), (2, 'P-2', 200, NULL, 'draft'), (3, 'P-3', 300, 'older', 'live');
INSERT INTO orders VALUES (1, 1, 'O-1'), (2, 3, 'O-2');
