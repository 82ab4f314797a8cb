CREATE TABLE topics (id $id, parent_id integer REFERENCES topics, slug text NOT NULL UNIQUE, path text NOT NULL, posts_count integer NOT NULL DEFAULT 0);
CREATE TABLE posts (id $id, topic_id integer NOT NULL REFERENCES topics, title text NOT NULL UNIQUE);
