"""Whether a database is well enough for the next batch: readings in, a verdict out."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from datamigrate.words.duration import human_duration
from datamigrate.words.size import human_size


@dataclass(frozen=True)
class Signal:
    """Something that can be read: what people call it, and how its number is shown. `of_table` when each
    table has its own, `grows` when what is read is a counter and what counts is its growth per second."""

    title: str
    show: Callable[[float], str]
    of_table: bool = False
    grows: bool = False


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _rate(value: float) -> str:
    return f"{human_size(value)}/s"


LAG, POOL_WAIT, OTHERS = "replica_lag", "pool_wait", "others"
FUNCTION, URL = "function", "url"

SIGNALS: Mapping[str, Signal] = {
    LAG: Signal("replica lag", human_duration),
    "wal_rate": Signal("WAL written", _rate, grows=True),
    "archive_backlog": Signal("WAL segments not archived", _number),
    "lock_waits": Signal("sessions waiting for locks", _number),
    "active_sessions": Signal("active sessions", _number),
    OTHERS: Signal("other sessions at work", _number),
    "xmin_age": Signal("transactions since the oldest xmin", _number),
    "autovacuum": Signal("vacuum at work on the table", _number, of_table=True),
    "dead_rows": Signal("dead rows in the table", _number, of_table=True),
    POOL_WAIT: Signal("wait for a connection", human_duration),
    "wal_size": Signal("WAL not checkpointed", human_size),
    FUNCTION: Signal("own function", _number),
    URL: Signal("URL", _number),
}
"""What can be watched, by the name it has in the configuration."""


@dataclass(frozen=True)
class Guard:
    """Holds the work back while a signal is above `high`, and lets it go on once it is not above `low`; or
    `slows` it down for so long.

    One that is `closed` does so too while the signal cannot be read.
    """

    signal: str
    high: float
    low: float
    closed: bool = False
    slows: bool = False


@dataclass(frozen=True)
class Reading:
    """What a signal says: a `value` in its unit (None: there is nothing to measure here), or the `trouble`
    that it could not be read for. `word` is the reason in somebody's own words."""

    value: float | None = None
    trouble: str | None = None
    word: str | None = None


@dataclass(frozen=True)
class Verdict:
    """Why the work is held back, by signal, and why it is slowed down; it may go on as it likes when there
    is nothing."""

    reasons: Mapping[str, str] = field(default_factory=dict)
    slowing: Mapping[str, str] = field(default_factory=dict)

    @property
    def why(self) -> str | None:
        """All reasons to hold it back in one line."""
        return "; ".join(self.reasons.values()) or None

    @property
    def acting(self) -> frozenset[str]:
        """The signals whose guards act."""
        return frozenset((*self.reasons, *self.slowing))

    @property
    def why_slow(self) -> str | None:
        """All reasons to slow it down in one line."""
        return "; ".join(self.slowing.values()) or None


EASY = Verdict()
"""Nothing holds the work back, and nothing slows it down."""


def judge(guards: Iterable[Guard], readings: Mapping[str, Reading], acting: Collection[str] = ()) -> Verdict:
    """What follows from the readings, where the guards of these signals are `acting` already."""
    reasons: dict[str, str] = {}
    slowing: dict[str, str] = {}
    for guard in guards:
        reading = readings.get(guard.signal, Reading())
        if why := _why(guard, reading, guard.signal in acting):
            (slowing if guard.slows else reasons)[guard.signal] = why
    return Verdict(reasons, slowing)


def _why(guard: Guard, reading: Reading, acts: bool) -> str | None:
    signal = SIGNALS[guard.signal]
    if reading.trouble is not None:
        return f"{signal.title} cannot be read: {reading.trouble}" if guard.closed else None
    if reading.value is None or reading.value <= (guard.low if acts else guard.high):
        return None
    if guard.slows:
        return f"{signal.title}: {signal.show(reading.value)}"
    return reading.word or f"{signal.title} {signal.show(reading.value)}, goes on at {signal.show(guard.low)}"


def told(guard: Guard, reading: Reading) -> str:
    """How a signal stands, and what that means to its guard."""
    signal = SIGNALS[guard.signal]
    acts, waits = ("slows a run down", "goes slowly") if guard.slows else ("holds a run back", "waits")
    if reading.trouble is not None:
        then = f"a run {waits}" if guard.closed else "a run goes on without it"
        return f"{signal.title} cannot be read: {reading.trouble}; {then}"
    if reading.value is None:
        return f"{signal.title}: nothing to measure here"
    then = acts if reading.value > guard.high else "lets a run go on"
    return f"{signal.title} {signal.show(reading.value)}, {then} (above {signal.show(guard.high)} it {waits})"


def rate(before: tuple[float, float] | None, now: tuple[float, float]) -> float | None:
    """The growth per second between two readings of a counter, each with its time in seconds; None without
    a former one, or when the counter has begun anew."""
    if before is None or now[1] <= before[1] or now[0] < before[0]:
        return None
    return (now[0] - before[0]) / (now[1] - before[1])


DEFAULT_GUARDS = (
    Guard(LAG, high=10.0, low=5.0),
    Guard("lock_waits", high=20, low=10),
    Guard("xmin_age", high=50_000_000, low=25_000_000),
    Guard("wal_size", high=1024.0**3, low=1024.0**3 / 2),
    Guard(OTHERS, high=0, low=0, closed=True, slows=True),
)
"""What is watched unless the project says otherwise; where a signal cannot be read, the work goes on, and slowly
where that is whether there are others."""


@dataclass(frozen=True)
class Throttle:
    """What is watched, `every` so many seconds, and how long one answer may take (`patience`).

    `lag_query` gives the replica lag in seconds where the server's own view does not; `function` is
    `module:name`, `url` answers 2xx while all is well.
    """

    guards: tuple[Guard, ...] = DEFAULT_GUARDS
    every: float = 2.0
    patience: float = 2.0
    lag_query: str | None = None
    function: str | None = None
    url: str | None = None
