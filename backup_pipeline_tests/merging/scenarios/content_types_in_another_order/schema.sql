CREATE TABLE django_content_type (id $id, app_label varchar(100) NOT NULL, model varchar(100) NOT NULL, UNIQUE (app_label, model));
CREATE TABLE blog_post (id $id, slug varchar(50) NOT NULL UNIQUE);
CREATE TABLE blog_photo (id $id, slug varchar(50) NOT NULL UNIQUE);
CREATE TABLE blog_tag (id $id, content_type_id integer NOT NULL REFERENCES django_content_type, object_id integer NOT NULL, word varchar(50) NOT NULL);
