CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE users (id $id, email text COLLATE folded NOT NULL UNIQUE);
CREATE TABLE posts (id $id, author text COLLATE folded NOT NULL REFERENCES users (email), title text NOT NULL);
