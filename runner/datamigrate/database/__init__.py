"""Floor 4, database: connections, one file per dialect, the ledger, and Alembic's side."""
