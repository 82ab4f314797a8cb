"""The drill of PostgreSQL: a scratch database, its rows compared, its tables written to."""
