DELETE FROM books_tags WHERE book_id = 2 OR tag_id = 3;
DELETE FROM readers WHERE book_id = 2;
DELETE FROM books WHERE id = 2;
DELETE FROM tags WHERE id IN (2, 3);
INSERT INTO tags VALUES (2, 'sea'), (4, 'classic');
INSERT INTO books VALUES (2, 'Moby-Dick');
INSERT INTO books_tags VALUES (2, 2, 2), (3, 1, 4);
INSERT INTO readers VALUES (2, 'bob');
