DELETE FROM comments WHERE id > 1;
DELETE FROM posts WHERE id = 2;
DELETE FROM photos;
INSERT INTO posts VALUES (2, 'new');
INSERT INTO photos VALUES (1, 'bird'), (9, 'dog');
INSERT INTO comments VALUES (2, 'Photo', 1, 'tweet', '2026-05-05 10:00:00');
