INSERT INTO django_content_type VALUES (1, 'blog', 'post'), (2, 'blog', 'photo');
INSERT INTO blog_post VALUES (1, 'hello'), (2, 'bye');
INSERT INTO blog_photo VALUES (1, 'cat'), (2, 'dog');
INSERT INTO blog_tag VALUES (1, 1, 1, 'news'), (2, 1, 2, 'sad'), (3, 2, 1, 'cute'), (4, 2, 2, 'cute');
