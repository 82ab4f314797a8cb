CREATE TYPE state AS ENUM ('draft', 'live', 'secret');
CREATE TABLE products (id $id, sku varchar(20) NOT NULL UNIQUE, price integer NOT NULL, legacy text, state state NOT NULL DEFAULT 'draft');
CREATE TABLE orders (id $id, product_id integer NOT NULL REFERENCES products, number text NOT NULL UNIQUE);
