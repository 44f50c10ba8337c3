"""Run the revisions on the connection that `Database.migrate` hands over."""

from alembic import context

from don.storage.catalogue import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
