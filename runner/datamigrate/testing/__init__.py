"""Floor 7, proof: what a script's author tests with. Reached by the pytest plugin, and by nothing below."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamigrate.testing.making import CannotMake
    from datamigrate.testing.telling import NotProven
    from datamigrate.testing.trial import Ran, Trial

__all__ = ["CannotMake", "NotProven", "Ran", "Trial"]

_HOMES = {
    "CannotMake": "datamigrate.testing.making",
    "NotProven": "datamigrate.testing.telling",
    "Ran": "datamigrate.testing.trial",
    "Trial": "datamigrate.testing.trial",
}


if not TYPE_CHECKING:  # or a type checker would take every name for granted

    def __getattr__(name: str) -> Any:
        # pytest loads this package in every project that has datamigrate, whether it is used there or not
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)
