DELETE FROM addresses WHERE id > 1;
DELETE FROM countries WHERE id = 2;
DELETE FROM users WHERE id = 2;
INSERT INTO countries VALUES (2, 'ch', 'Switzerland'), (9, 'be', 'Belgium');
INSERT INTO addresses VALUES (2, 'ch', 1001, 'Gasse');
