INSERT INTO categories VALUES (1, NULL, 'clothes', 'Clothes'), (2, 1, 'shirts', 'Shirts'), (3, 2, 'new', 'New shirts'),
  (4, NULL, 'books', 'Books'), (5, 4, 'new', 'New books');
INSERT INTO products VALUES (1, 3, 'SHIRT-1'), (2, 2, 'SHIRT-2'), (3, 5, 'BOOK-1');
