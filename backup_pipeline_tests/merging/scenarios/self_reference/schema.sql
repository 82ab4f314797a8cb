CREATE TABLE people (id $id, boss_id integer REFERENCES people, twin_id integer NOT NULL REFERENCES people, name text NOT NULL UNIQUE);
