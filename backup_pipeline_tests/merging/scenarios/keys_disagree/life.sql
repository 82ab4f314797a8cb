DELETE FROM notes WHERE id = 1;
DELETE FROM orders WHERE id = 2;
DELETE FROM users WHERE id = 2;
INSERT INTO users VALUES (3, 'bob@example.org', 'robert'), (4, 'bo@example.org', 'bob');
