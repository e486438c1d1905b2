"""What a data script imports. Everything else is under the floors: words, thought, authoring, database,
doing, faces, testing."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamigrate.authoring.batch import Batch
    from datamigrate.authoring.forms import compute_rows, delete_rows, each_batch, update_rows
    from datamigrate.words.errors import DatamigrateError

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "DatamigrateError",
    "__version__",
    "compute_rows",
    "delete_rows",
    "each_batch",
    "update_rows",
]

_HOMES = {
    "Batch": "datamigrate.authoring.batch",
    "DatamigrateError": "datamigrate.words.errors",
    "compute_rows": "datamigrate.authoring.forms",
    "delete_rows": "datamigrate.authoring.forms",
    "each_batch": "datamigrate.authoring.forms",
    "update_rows": "datamigrate.authoring.forms",
}


if not TYPE_CHECKING:  # or a type checker would take every name for granted

    def __getattr__(name: str) -> Any:
        # SQLAlchemy comes in with the first name that needs it, so that `datamigrate --help` stays quick
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)
