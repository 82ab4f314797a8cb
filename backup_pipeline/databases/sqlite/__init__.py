"""SQLite: `export` reads, `restore` writes a file, `drill` proves it, `examining` looks into a stored file."""
