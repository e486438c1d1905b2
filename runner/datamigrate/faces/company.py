"""Who keeps a run company: the watch over the database's health, and those who are told what happens."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from datamigrate.authoring.script import Script
from datamigrate.database.database import Database
from datamigrate.doing.effort import Workplace
from datamigrate.doing.watching import Watch
from datamigrate.faces.notices.post import Post
from datamigrate.faces.notices.telemetry import traced
from datamigrate.faces.notifying import post_for
from datamigrate.faces.project import Project
from datamigrate.faces.watching import watch_for
from datamigrate.words.claim import Owner
from datamigrate.words.events import Publish

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Company:
    """A watch that may hold the work back, and a post for what is to be told of it."""

    watch: Watch
    post: Post

    async def keep(self, place: Workplace, work: Callable[[Workplace], Awaitable[T]]) -> T:
        """The result of the work at this place, with all of them beside it."""

        async def told(tell: Publish) -> T:
            with traced(place.database.dialect.name, tell) as tell_all:
                brakes = (*place.brakes, self.watch.why_wait)
                return await work(replace(place, publish=tell_all, brakes=brakes, others=self.watch.why_slow))

        return await self.watch.during(lambda: self.post.during(place.publish, told))


def company_for(
    project: Project, database: Database, scripts: Iterable[Script], owner: Owner, throttled: bool
) -> Company:
    """The company of a run of these scripts, as the project wants it; one that is not `throttled` is never
    held back. Raises ConfigurationError."""
    watch = watch_for(project, database, scripts, throttled)
    return Company(watch, post_for(project.configuration.notify, database.address, str(owner)))
