DELETE FROM products WHERE id = 2;
UPDATE products SET price = 1 WHERE id = 3;
