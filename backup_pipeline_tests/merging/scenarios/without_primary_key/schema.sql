CREATE TABLE shops (id $id, name text NOT NULL UNIQUE);
CREATE TABLE visits (shop_id integer REFERENCES shops, day text, note text);
