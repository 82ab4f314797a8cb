DELETE FROM "Like" WHERE "userId" = 2;
DELETE FROM "Post" WHERE id IN (2, 3);
DELETE FROM "User" WHERE id = 2;
INSERT INTO "User" VALUES (2, 'eve@example.org');
INSERT INTO "Post" VALUES (2, 2, NULL, 'by-eve');
INSERT INTO "Like" VALUES (2, 1);
