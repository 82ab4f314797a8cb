DELETE FROM blog_tag;
DELETE FROM blog_post;
DELETE FROM blog_photo;
DELETE FROM django_content_type;
INSERT INTO django_content_type VALUES (1, 'blog', 'photo'), (2, 'blog', 'post');
INSERT INTO blog_post VALUES (1, 'new'), (5, 'bye');
INSERT INTO blog_photo VALUES (2, 'bird'), (7, 'cat');
INSERT INTO blog_tag VALUES (1, 1, 2, 'cute'), (9, 2, 1, 'news');
