CREATE TABLE categories (id $id, parent_id integer REFERENCES categories, slug text NOT NULL, name text NOT NULL, UNIQUE (parent_id, slug));
CREATE TABLE products (id $id, category_id integer NOT NULL REFERENCES categories, sku text NOT NULL UNIQUE);
