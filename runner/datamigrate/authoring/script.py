"""A script as loaded: who it is, and how it does its work."""

from dataclasses import dataclass

from datamigrate.authoring.forms import Form
from datamigrate.words.errors import DatamigrateError
from datamigrate.words.migration import Migration


@dataclass(frozen=True, eq=False)
class Script:
    """One data migration: its identity, the form of its `migrate`, and of its `revert` if it has one."""

    migration: Migration
    form: Form
    revert: Form | None = None

    @property
    def name(self) -> str:
        """Its identity in the ledger."""
        return self.migration.name


@dataclass(frozen=True)
class Library:
    """All scripts of a project. A broken one is a problem beside the others, not instead of them."""

    scripts: tuple[Script, ...]
    problems: tuple[DatamigrateError, ...] = ()

    @property
    def migrations(self) -> tuple[Migration, ...]:
        """The identities, in file order."""
        return tuple(script.migration for script in self.scripts)

    def named(self, name: str) -> Script | None:
        """The script of this name."""
        return next((script for script in self.scripts if script.name == name), None)

    def mask_of(self, name: str) -> frozenset[str]:
        """The columns whose values a migration's author never wants shown."""
        script = self.named(name)
        return script.migration.options.mask if script else frozenset()
