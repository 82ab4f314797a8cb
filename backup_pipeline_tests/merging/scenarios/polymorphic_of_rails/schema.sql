CREATE TABLE posts (id $id, slug text NOT NULL UNIQUE);
CREATE TABLE photos (id $id, slug text NOT NULL UNIQUE);
CREATE TABLE comments (id $id, commentable_type text, commentable_id integer, body text NOT NULL, created_at timestamp NOT NULL);
