CREATE TABLE customers (id $id, email text NOT NULL UNIQUE, name text NOT NULL);
CREATE TABLE orders (id $id, customer_id integer NOT NULL REFERENCES customers ON DELETE CASCADE, number text NOT NULL UNIQUE);
CREATE TABLE notes (id $id, customer_id integer REFERENCES customers ON DELETE SET NULL, line text NOT NULL);
