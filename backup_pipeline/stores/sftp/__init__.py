"""SFTP: `store` is the store, `session` its connection, `upload` its writes."""
