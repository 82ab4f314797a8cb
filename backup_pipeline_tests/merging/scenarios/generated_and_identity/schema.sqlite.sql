CREATE TABLE bills (id INTEGER PRIMARY KEY AUTOINCREMENT, net integer NOT NULL, tax integer NOT NULL, gross integer GENERATED ALWAYS AS (net + tax) STORED, number text NOT NULL UNIQUE);
CREATE TABLE lines (id INTEGER PRIMARY KEY AUTOINCREMENT, bill_id integer NOT NULL REFERENCES bills, what text NOT NULL, length integer AS (length(what)) VIRTUAL);
