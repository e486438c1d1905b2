"""Noticing that a migration makes no progress although somebody is at work on it."""

from dataclasses import dataclass, field

from datamigrate.words import events


@dataclass
class Stalls:
    """A migration has stalled when no batch of it was done for `after` seconds. Time is what the caller says."""

    after: float
    _progress: dict[str, float] = field(default_factory=dict)
    _why: dict[str, str] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def note(self, event: events.Event, now: float) -> None:
        """Something happened."""
        match event:
            case events.Started() | events.BatchDone():
                self._progress[event.migration] = now
                self._why.pop(event.migration, None)
                self._told.discard(event.migration)
            case (
                events.HeldBack(migration=name, reason=reason)
                | events.Retrying(migration=name, reason=reason)
            ):
                self._why[name] = reason
            case events.Finished() | events.FoundDone() | events.Stopped() | events.Failed():
                self._progress.pop(event.migration, None)

    def due(self, now: float) -> list[events.Stalled]:
        """Those that have stalled since the last time that this was asked."""
        found = [
            events.Stalled(name, now - since, self._why.get(name, ""))
            for name, since in self._progress.items()
            if name not in self._told and now - since >= self.after
        ]
        self._told |= {event.migration for event in found}
        return found
