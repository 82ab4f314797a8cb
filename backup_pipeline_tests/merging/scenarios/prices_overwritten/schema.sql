CREATE TABLE products (id $id, sku text NOT NULL UNIQUE, price integer NOT NULL, stock integer NOT NULL);
CREATE TABLE orders (id $id, product_id integer NOT NULL REFERENCES products, paid integer NOT NULL);
