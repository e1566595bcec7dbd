"""restarts underway: what a graph is in the middle of, and since when its services are being restarted"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("graphs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("underway", sa.String(length=40), nullable=True))
        batch_op.add_column(sa.Column("restarted", sa.Text(), nullable=False, server_default="{}"))


def downgrade() -> None:
    with op.batch_alter_table("graphs", schema=None) as batch_op:
        batch_op.drop_column("restarted")
        batch_op.drop_column("underway")
