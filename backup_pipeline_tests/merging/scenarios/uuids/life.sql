DELETE FROM posts WHERE title IN ('ho', 'hm');
DELETE FROM users WHERE email = 'bob@example.org';
INSERT INTO users VALUES ('00000000-0000-4000-8000-000000000009', 'bob@example.org');
UPDATE posts SET title = 'hi!' WHERE title = 'hi';
