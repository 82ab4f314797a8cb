DELETE FROM posts WHERE id IN (2, 3);
DELETE FROM users WHERE id = 3;
UPDATE users SET deleted_at = '2026-05-05 10:00:00' WHERE id IN (1, 4);
INSERT INTO users VALUES (3, 'eve@example.org', 'Eve', NULL), (5, 'bob@example.org', 'Bob again', NULL), (6, 'ann@example.org', 'Ann the third', NULL);
