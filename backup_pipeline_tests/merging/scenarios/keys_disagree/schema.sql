CREATE TABLE users (id $id, email text NOT NULL UNIQUE, username text NOT NULL UNIQUE);
CREATE TABLE orders (id $id, user_id integer NOT NULL REFERENCES users, number text NOT NULL UNIQUE);
CREATE TABLE notes (id $id, user_id integer REFERENCES users, line text NOT NULL UNIQUE);
