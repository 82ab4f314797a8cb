INSERT INTO users VALUES (1, 'ann@example.org', 'Ann', NULL), (2, 'ann@example.org', 'Ann the first', '2025-01-01 10:00:00'), (3, 'bob@example.org', 'Bob', NULL),
  (4, 'cid@example.org', 'Cid', NULL);
INSERT INTO posts VALUES (1, 2, 'old news'), (2, 3, 'by Bob'), (3, 4, 'by Cid');
