INSERT INTO shops VALUES (1, 'north'), (2, 'south');
INSERT INTO sales VALUES (1, '2026-01-10', 1, 10), (2, '2026-01-20', 2, 20), (3, '2026-02-10', 2, 30), (4, '2026-02-11', 1, 40);
INSERT INTO refunds VALUES (1, 3, '2026-02-10'), (2, 4, '2026-02-11');
