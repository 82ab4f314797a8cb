INSERT INTO events (id, at, kind, created_at)
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 24475)
  SELECT i, CAST('2026-01-01 00:00:00' AS timestamp) + i * interval '1 minute', 'kind ' || i % 7, CAST('2026-01-01 00:00:00' AS timestamp) + i * interval '1 minute' FROM n;
