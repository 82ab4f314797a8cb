CREATE TABLE shops (id $id, name text NOT NULL UNIQUE);
CREATE TABLE invoices (shop_id integer NOT NULL REFERENCES shops, number integer NOT NULL, total integer NOT NULL, PRIMARY KEY (shop_id, number));
CREATE TABLE payments (id $id, shop_id integer NOT NULL, invoice integer, amount integer NOT NULL, code text NOT NULL UNIQUE,
  FOREIGN KEY (shop_id, invoice) REFERENCES invoices (shop_id, number));
