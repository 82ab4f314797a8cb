PRAGMA defer_foreign_keys = ON;
INSERT INTO departments VALUES (1, 'sales', 1), (2, 'design', 3);
INSERT INTO people VALUES (1, 'ann@example.org', 1), (2, 'bob@example.org', 1), (3, 'cid@example.org', 2), (4, 'dan@example.org', 2);
