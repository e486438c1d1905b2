"""A project cut down to one data migration and those it depends on, each loaded anew for every run."""

from dataclasses import dataclass, replace
from pathlib import Path

from datamigrate.authoring.loading import load_script
from datamigrate.authoring.script import Library
from datamigrate.faces.project import Project
from datamigrate.words.errors import UnknownMigration


@dataclass(frozen=True, eq=False)
class Alone(Project):
    """The project as it is, with no other scripts than these `files`."""

    files: tuple[Path, ...] = ()

    def library(self) -> Library:
        """As a new process would load them. Raises ScriptError."""
        return Library(tuple(load_script(file) for file in self.files))

    def going_to(self, url: str) -> "Alone":
        """The same project with another database."""
        return replace(self, call=replace(self.call, url=url))


def alone(project: Project, name: str) -> Alone:
    """What belongs to this data migration, without rests between batches. Raises UnknownMigration, and what
    is wrong with its script."""
    library = project.library()
    wanted = [name]
    for each in wanted:
        script = library.named(each)
        if script is None:
            if library.problems:
                raise library.problems[0]
            raise UnknownMigration(
                f"There is no data migration {each!r}.",
                f"There are: {', '.join(s.name for s in library.scripts)}.",
            )
        wanted += [other for other in script.migration.depends_on if other not in wanted]
    files = tuple(s.migration.file for s in library.scripts if s.name in wanted)
    configuration = project.configuration
    settings = replace(configuration.settings, pause=0.0, nice=0.0, max_pause=0.0)
    return Alone(project.call, replace(configuration, settings=settings), project.history, files)
