UPDATE pages SET body = 'new a', updated_at = '2026-04-04 10:00:00' WHERE id = 1;
UPDATE pages SET body = 'rolled back b', updated_at = '2026-01-01 10:00:00' WHERE id = 2;
