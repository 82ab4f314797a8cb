CREATE TABLE events (id $id, at timestamp NOT NULL, kind text NOT NULL, created_at timestamp NOT NULL);
