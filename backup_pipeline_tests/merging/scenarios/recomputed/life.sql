DELETE FROM posts WHERE id > 1;
DELETE FROM topics WHERE id = 3;
DELETE FROM topics WHERE id = 2;
INSERT INTO topics VALUES (2, NULL, 'travel', '/2/', 1);
INSERT INTO posts VALUES (2, 2, 'to the sea'), (5, 1, 'cake');
UPDATE topics SET posts_count = 2 WHERE id = 1;
