CREATE TABLE countries (id $id, code varchar(2) NOT NULL UNIQUE, name text NOT NULL);
CREATE TABLE users (id $id, ref integer NOT NULL UNIQUE, email text NOT NULL UNIQUE);
CREATE TABLE addresses (id $id, country varchar(2) REFERENCES countries (code), user_ref integer NOT NULL REFERENCES users (ref), street text NOT NULL);
