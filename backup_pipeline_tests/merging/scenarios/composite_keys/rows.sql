INSERT INTO shops VALUES (1, 'north'), (2, 'south');
INSERT INTO invoices VALUES (1, 1, 10), (1, 2, 20), (2, 1, 30), (2, 2, 40);
INSERT INTO payments VALUES (1, 1, 2, 20, 'n2'), (2, 2, 1, 30, 's1'), (3, 2, NULL, 5, 's-half');
