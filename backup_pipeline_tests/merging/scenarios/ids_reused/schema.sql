CREATE TABLE customers (id $id, email text NOT NULL UNIQUE, name text);
CREATE TABLE orders (id $id, customer_id integer NOT NULL REFERENCES customers, number text NOT NULL UNIQUE, total integer);
