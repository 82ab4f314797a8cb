INSERT INTO countries VALUES (1, 'at', 'Austria'), (2, 'be', 'Belgium');
INSERT INTO users VALUES (1, 1001, 'ann@example.org'), (2, 1002, 'bob@example.org');
INSERT INTO addresses VALUES (1, 'at', 1001, 'Ring'), (2, 'be', 1002, 'Rue'), (3, NULL, 1002, 'Lane');
