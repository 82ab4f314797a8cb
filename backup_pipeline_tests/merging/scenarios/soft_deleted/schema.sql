CREATE TABLE users (id $id, email text NOT NULL, name text NOT NULL, deleted_at timestamp);
CREATE UNIQUE INDEX users_email ON users (email) WHERE deleted_at IS NULL;
CREATE TABLE posts (id $id, user_id integer NOT NULL REFERENCES users, title text NOT NULL);
