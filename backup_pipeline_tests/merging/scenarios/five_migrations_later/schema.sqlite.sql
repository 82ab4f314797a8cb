CREATE TABLE products (id INTEGER PRIMARY KEY, sku varchar(20) NOT NULL UNIQUE, price integer NOT NULL, legacy text, state text NOT NULL DEFAULT 'draft');
CREATE TABLE orders (id INTEGER PRIMARY KEY, product_id integer NOT NULL REFERENCES products, number text NOT NULL UNIQUE);
