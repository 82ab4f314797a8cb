CREATE TABLE customers (id $id, email text NOT NULL UNIQUE, referred_by integer REFERENCES customers);
CREATE TABLE orders (id $id, customer_id integer NOT NULL REFERENCES customers, total integer NOT NULL);
CREATE TABLE lines (order_id integer NOT NULL REFERENCES orders, n integer NOT NULL, what text, PRIMARY KEY (order_id, n));
