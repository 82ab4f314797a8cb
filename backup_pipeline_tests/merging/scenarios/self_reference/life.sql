DELETE FROM people WHERE id > 1;
INSERT INTO people VALUES (2, 1, 2, 'fay'), (4, 2, 4, 'gus');
