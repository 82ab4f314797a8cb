INSERT INTO posts VALUES (1, 'hello'), (2, 'bye');
INSERT INTO photos VALUES (1, 'cat'), (2, 'dog');
INSERT INTO comments VALUES (1, 'Post', 1, 'hi', '2026-01-01 10:00:00'), (2, 'Photo', 1, 'meow', '2026-01-01 10:00:01'),
  (3, 'Photo', 2, 'wuff', '2026-01-01 10:00:02'), (4, 'Post', 2, 'see you', '2026-01-01 10:00:03'), (5, NULL, NULL, 'to all', '2026-01-01 10:00:04');
