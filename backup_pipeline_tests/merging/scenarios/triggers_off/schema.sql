CREATE TABLE products (id $id, sku text NOT NULL UNIQUE, price integer NOT NULL, updated_at timestamp NOT NULL DEFAULT '2026-01-01 00:00:00');
CREATE TABLE audit (id $id, verb text NOT NULL, sku text NOT NULL);
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit (verb, sku) VALUES (TG_OP, NEW.sku); RETURN NULL; END $$;
CREATE FUNCTION stamped() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := '2026-12-12 00:00:00'; RETURN NEW; END $$;
CREATE TRIGGER noted AFTER INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION noted();
CREATE TRIGGER stamped BEFORE UPDATE ON products FOR EACH ROW EXECUTE FUNCTION stamped();
