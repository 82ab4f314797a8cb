CREATE TABLE pages (id $id, slug text NOT NULL UNIQUE, body text, updated_at timestamp NOT NULL);
