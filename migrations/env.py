"""Alembic's entry: runs the migrations on the connection that `dynamod.store.migrate` hands over."""

from alembic import context

from dynamod.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes tables by copying them
)
with context.begin_transaction():
    context.run_migrations()
