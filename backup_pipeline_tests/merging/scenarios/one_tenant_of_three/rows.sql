INSERT INTO plans VALUES (1, 'free'), (2, 'paid');
INSERT INTO accounts VALUES (1, 'acme', 1), (2, 'bolt', 2), (3, 'cogs', 1);
INSERT INTO projects VALUES (1, 1, 'site'), (2, 2, 'site'), (3, 2, 'shop'), (4, 3, 'site');
INSERT INTO tasks VALUES (1, 1, NULL, 'a1'), (2, 2, NULL, 'b1'), (3, 2, 2, 'b2'), (4, 3, 3, 'b3'), (5, 4, NULL, 'c1'), (6, 4, 5, 'c2');
INSERT INTO words VALUES (1, 'urgent'), (2, 'later'), (3, 'never');
INSERT INTO task_words VALUES (1, 1), (2, 1), (3, 2), (5, 1), (6, 3);
