CREATE TABLE "User" (id $id, email text NOT NULL UNIQUE);
CREATE TABLE "Post" (id $id, "authorId" integer NOT NULL, "reviewerId" integer, slug text NOT NULL UNIQUE);
CREATE TABLE "Like" ("userId" integer NOT NULL, "postId" integer NOT NULL, PRIMARY KEY ("userId", "postId"));
