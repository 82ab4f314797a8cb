INSERT INTO topics VALUES (1, NULL, 'food', '/1/', 1), (2, 1, 'tea', '/1/2/', 2), (3, 2, 'green', '/1/2/3/', 1);
INSERT INTO posts VALUES (1, 1, 'bread'), (2, 2, 'assam'), (3, 2, 'ceylon'), (4, 3, 'sencha');
