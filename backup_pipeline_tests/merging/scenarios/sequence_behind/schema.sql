CREATE TABLE customers (id $id, email text NOT NULL UNIQUE);
CREATE TABLE orders (id serial PRIMARY KEY, customer_id integer NOT NULL REFERENCES customers, number text NOT NULL UNIQUE);
