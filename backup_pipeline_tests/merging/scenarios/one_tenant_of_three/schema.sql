CREATE TABLE plans (id $id, name text NOT NULL UNIQUE);
CREATE TABLE accounts (id $id, name text NOT NULL UNIQUE, plan_id integer NOT NULL REFERENCES plans);
CREATE TABLE projects (id $id, account_id integer NOT NULL REFERENCES accounts, name text NOT NULL, UNIQUE (account_id, name));
CREATE TABLE tasks (id $id, project_id integer NOT NULL REFERENCES projects, after_id integer REFERENCES tasks, title text NOT NULL);
CREATE TABLE words (id $id, word text NOT NULL UNIQUE);
CREATE TABLE task_words (task_id integer NOT NULL REFERENCES tasks, word_id integer NOT NULL REFERENCES words, PRIMARY KEY (task_id, word_id));
