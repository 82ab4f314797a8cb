-- The schema of Auth.js' pg adapter, on SQLite.
CREATE TABLE verification_token (identifier TEXT NOT NULL, expires TIMESTAMP NOT NULL, token TEXT NOT NULL, PRIMARY KEY (identifier, token));
CREATE TABLE accounts (id INTEGER PRIMARY KEY AUTOINCREMENT, "userId" INTEGER NOT NULL, type VARCHAR(255) NOT NULL, provider VARCHAR(255) NOT NULL, "providerAccountId" VARCHAR(255) NOT NULL, refresh_token TEXT, access_token TEXT, expires_at BIGINT, id_token TEXT, scope TEXT, session_state TEXT, token_type TEXT);
CREATE TABLE sessions (id INTEGER PRIMARY KEY AUTOINCREMENT, "userId" INTEGER NOT NULL, expires TIMESTAMP NOT NULL, "sessionToken" VARCHAR(255) NOT NULL);
CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name VARCHAR(255), email VARCHAR(255), "emailVerified" TIMESTAMP, image TEXT);
