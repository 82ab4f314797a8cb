import sqlalchemy as sa
from alembic import op

revision, down_revision = "0005", "0004"


def upgrade() -> None:
    with op.batch_alter_table("products") as products:
        products.alter_column(
            "price", existing_type=sa.Integer, type_=sa.Numeric(10, 2), existing_nullable=False
        )
    with op.batch_alter_table("customers") as customers:
        customers.add_column(sa.Column("note", sa.Text))
    op.create_table(
        "coupons",
        sa.Column("code", sa.String(10), primary_key=True),
        sa.Column("customer_id", sa.Integer, sa.ForeignKey("customers.id"), nullable=False),
    )
