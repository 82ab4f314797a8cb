INSERT INTO people VALUES (1, NULL, 1, 'ann'), (2, 1, 2, 'bob'), (3, 2, 4, 'cid'), (4, 2, 3, 'dan'), (5, 3, 5, 'eve');
