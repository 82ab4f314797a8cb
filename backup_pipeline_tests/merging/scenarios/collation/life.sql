DELETE FROM posts WHERE id = 2;
DELETE FROM users WHERE id = 2;
INSERT INTO users VALUES (2, 'eve@example.org'), (7, 'bob@example.org');
