"""The database's history, one revision a file, shipped with the service, applied by `app.storage.database.migrate`.

Goes forward only, and never edits a revision that was released: the way back is a backup. A new revision is
written by hand; tests/integration/storage/test_migrations.py says what it lacks beside `app.storage.database`.
"""
