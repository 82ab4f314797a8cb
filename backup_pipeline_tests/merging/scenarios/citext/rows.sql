INSERT INTO users VALUES (1, 'Ann@Example.org'), (2, 'Bob@Example.org');
INSERT INTO posts VALUES (1, 'ann@example.org', 'hi'), (2, 'BOB@example.org', 'ho');
