"""PostgreSQL: `export` reads, `restore` writes, `drill` proves, `server` runs private servers."""
