import sqlalchemy as sa
from alembic import op

revision, down_revision = "0004", "0003"


def upgrade() -> None:
    with op.batch_alter_table("products") as products:
        products.add_column(sa.Column("stock", sa.Integer, nullable=False, server_default="0"))
        products.drop_column("legacy_code")
