CREATE TABLE books (id $id, title text NOT NULL UNIQUE);
CREATE TABLE tags (id $id, word text NOT NULL UNIQUE);
CREATE TABLE books_tags (id $id, book_id integer NOT NULL REFERENCES books, tag_id integer NOT NULL REFERENCES tags, UNIQUE (book_id, tag_id));
CREATE TABLE readers (book_id integer NOT NULL REFERENCES books, reader text NOT NULL, PRIMARY KEY (book_id, reader));
