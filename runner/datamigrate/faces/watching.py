"""The watch over a database's health, as the project's configuration wants it."""

from collections.abc import Iterable
from functools import partial

from datamigrate.authoring.script import Script
from datamigrate.database.database import Database
from datamigrate.database.health import read_signals
from datamigrate.doing.asking import Ask, ask_function, ask_url
from datamigrate.doing.watching import Watch
from datamigrate.faces.project import Project, imported
from datamigrate.thought.health import FUNCTION, LAG, SIGNALS, URL, Throttle, judge, told


async def health_told(database: Database, throttle: Throttle) -> list[tuple[bool, str]]:
    """How each signal stands that one look at the whole database tells, and whether it would let a run go on."""
    readable = database.dialect.signals | ({LAG} if throttle.lag_query else set())
    guards = [
        guard
        for guard in throttle.guards
        if guard.signal in readable and not (SIGNALS[guard.signal].of_table or SIGNALS[guard.signal].grows)
    ]
    asked = [(guard.signal, None) for guard in guards]
    readings = await read_signals(database, asked, throttle.patience, throttle.lag_query)
    found = [(guard, readings[guard.signal, None]) for guard in guards]
    return [(r.trouble is None and judge([g], {g.signal: r}).why is None, told(g, r)) for g, r in found]


def watch_for(project: Project, database: Database, scripts: Iterable[Script], wanted: bool = True) -> Watch:
    """The watch for runs of these scripts; one that is not `wanted` watches nothing. Raises
    ConfigurationError when the function that is to be asked cannot be had."""
    throttle = project.configuration.throttle if wanted else Throttle(guards=())
    tables = {script.name: getattr(script.form, "table", None) for script in scripts}
    ask: dict[str, Ask] = {}
    if name := throttle.function:
        function = imported(name, project.root, "[tool.datamigrate.throttle] function", "myapp.ops:healthy")
        ask[FUNCTION] = ask_function(name, function, database)
    if url := throttle.url:
        ask[URL] = partial(ask_url, url, throttle.patience)
    return Watch(database, throttle, tables, ask)
