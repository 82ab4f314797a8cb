INSERT INTO events (id, at, kind, created_at)
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 24475)
  SELECT i, datetime('2026-01-01 00:00:00', i || ' minutes'), 'kind ' || i % 7, datetime('2026-01-01 00:00:00', i || ' minutes') FROM n;
