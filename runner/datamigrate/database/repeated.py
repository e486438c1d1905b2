"""A statement that is executed for one slice after the other: made once, which takes longer than to send it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import sqlalchemy as sa

from datamigrate.words.migration import Bounds

S = TypeVar("S", bound=sa.Executable)


@dataclass(frozen=True, eq=False)
class Repeated(Generic[S]):
    """What `make` makes of a slice. One at the beginning of the key space has no lower bound, and a statement of
    its own."""

    make: Callable[[Bounds], S]
    _made: dict[bool, S] = field(default_factory=dict, init=False)

    def of(self, bounds: Bounds) -> S:
        """The statement for slices like this one, to be executed with the parameters of it."""
        begins = bounds.lower is None
        if begins not in self._made:
            self._made[begins] = self.make(bounds)
        return self._made[begins]
