CREATE EXTENSION citext;
CREATE TABLE users (id $id, email citext NOT NULL UNIQUE);
CREATE TABLE posts (id $id, author citext NOT NULL REFERENCES users (email), title text NOT NULL);
