CREATE TABLE departments (id $id, name text NOT NULL UNIQUE, head_id integer NOT NULL);
CREATE TABLE people (id $id, email text NOT NULL UNIQUE, department_id integer NOT NULL REFERENCES departments);
ALTER TABLE departments ADD CONSTRAINT departments_head FOREIGN KEY (head_id) REFERENCES people;
