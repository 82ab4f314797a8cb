INSERT INTO books VALUES (1, 'Emma'), (2, 'Dracula');
INSERT INTO tags VALUES (1, 'love'), (2, 'horror'), (3, 'classic');
INSERT INTO books_tags VALUES (1, 1, 1), (2, 1, 3), (3, 2, 2), (4, 2, 3);
INSERT INTO readers VALUES (1, 'ann'), (2, 'ann'), (2, 'bob');
