"""Names of what a merge leaves in a database: the map of keys that a later merge reads.

No backup takes these objects. So no inventory, no difference and no restore has them either. They are about one database and
its rows: in a restored database the same map would name other rows. A restore into an empty database is refused where they
are left over, for the same reason.
"""

from __future__ import annotations

#: PostgreSQL: this schema and everything in it, where the schema has the comment.
OWN_SCHEMA = "backup_pipeline"
#: An application may have a schema of that name. Without this comment it is the application's, and is backed up. A merge
#: makes the schema and its comment in one transaction, and never gives the comment to a schema that is there already.
OWN_COMMENT = "made by backup-pipeline: what merges remember; no backup takes it"
#: SQLite: the tables whose names begin so.
OWN_PREFIX = "_backup_pipeline_"
