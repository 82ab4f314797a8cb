CREATE TABLE bills (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, net integer NOT NULL, tax integer NOT NULL, gross integer GENERATED ALWAYS AS (net + tax) STORED, number text NOT NULL UNIQUE);
CREATE TABLE lines (id serial PRIMARY KEY, bill_id integer NOT NULL REFERENCES bills, what text NOT NULL);
