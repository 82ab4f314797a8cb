CREATE TABLE products (id INTEGER PRIMARY KEY, sku text NOT NULL UNIQUE, price integer NOT NULL, updated_at timestamp NOT NULL DEFAULT '2026-01-01 00:00:00');
CREATE TABLE audit (id INTEGER PRIMARY KEY, verb text NOT NULL, sku text NOT NULL);
CREATE TRIGGER noted_insert AFTER INSERT ON products BEGIN INSERT INTO audit (verb, sku) VALUES ('INSERT', NEW.sku); END;
CREATE TRIGGER noted_update AFTER UPDATE OF price ON products BEGIN INSERT INTO audit (verb, sku) VALUES ('UPDATE', NEW.sku); END;
CREATE TRIGGER stamped AFTER UPDATE OF price ON products BEGIN UPDATE products SET updated_at = '2026-12-12 00:00:00' WHERE id = NEW.id; END;
