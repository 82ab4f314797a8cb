INSERT INTO shops VALUES (1, 'north'), (2, 'south');
INSERT INTO visits VALUES (1, 'mon', NULL), (1, 'mon', NULL), (1, 'mon', NULL), (2, 'tue', 'rain'), (2, 'wed', NULL), (NULL, NULL, NULL), (NULL, NULL, NULL);
