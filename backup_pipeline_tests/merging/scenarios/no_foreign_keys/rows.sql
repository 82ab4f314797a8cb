INSERT INTO "User" VALUES (1, 'ann@example.org'), (2, 'bob@example.org');
INSERT INTO "Post" VALUES (1, 1, 2, 'by-ann'), (2, 2, 2, 'by-bob'), (3, 8, 9, 'by-a-ghost');
INSERT INTO "Like" VALUES (1, 2), (2, 1);
