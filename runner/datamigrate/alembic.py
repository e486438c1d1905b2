"""For env.py and for schema revisions: `import datamigrate.alembic`.

Importing it gives revisions `op.require_data("name")`; `hooks()` goes into env.py:

    context.configure(connection=connection, target_metadata=metadata, **datamigrate.alembic.hooks())
"""

from datamigrate.faces.gates import GateClosed
from datamigrate.faces.hooks import hooks

__all__ = ["GateClosed", "hooks"]
