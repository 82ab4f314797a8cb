CREATE TABLE departments (id INTEGER PRIMARY KEY, name text NOT NULL UNIQUE, head_id integer NOT NULL REFERENCES people);
CREATE TABLE people (id INTEGER PRIMARY KEY, email text NOT NULL UNIQUE, department_id integer NOT NULL REFERENCES departments);
