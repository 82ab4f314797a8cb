DELETE FROM products WHERE id IN (1, 2);
DELETE FROM categories WHERE id = 3;
DELETE FROM categories WHERE id = 2;
DELETE FROM categories WHERE id = 1;
INSERT INTO categories VALUES (1, NULL, 'toys', 'Toys'), (2, 1, 'new', 'New toys'), (6, 4, 'old', 'Old books');
INSERT INTO products VALUES (1, 2, 'TOY-1');
