"""What is made for one slice and used for the others too: a statement takes longer to make than to send."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from datamigrate.words.migration import Bounds

S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class Repeated(Generic[S]):
    """What `make` makes of a slice. One at the beginning of the key space has no lower bound, and one of its own."""

    make: Callable[[Bounds], S]
    _made: dict[bool, S] = field(default_factory=dict, init=False)

    def of(self, bounds: Bounds) -> S:
        """The one for slices like this, to be executed with the parameters of it."""
        begins = bounds.lower is None
        if begins not in self._made:
            self._made[begins] = self.make(bounds)
        return self._made[begins]
