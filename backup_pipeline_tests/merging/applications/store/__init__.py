"""A shop on SQLAlchemy, with five migrations of Alembic. The backup is of the third, and the shop lives at the fifth."""
