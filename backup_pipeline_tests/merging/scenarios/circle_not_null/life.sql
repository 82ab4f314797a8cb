WITH d AS (DELETE FROM departments WHERE id = 2) DELETE FROM people WHERE department_id = 2;
WITH d AS (INSERT INTO departments VALUES (2, 'press', 3)) INSERT INTO people VALUES (3, 'eve@example.org', 2);
