DELETE FROM visits;
DELETE FROM shops WHERE id = 2;
INSERT INTO shops VALUES (2, 'west'), (3, 'south');
INSERT INTO visits VALUES (1, 'mon', NULL), (3, 'tue', 'rain'), (2, 'wed', NULL), (NULL, NULL, NULL);
