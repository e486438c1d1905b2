"""Verbs that look for trouble: check, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from datamigrate.faces.cli.frame import Get, cli, verb
from datamigrate.words.exits import Exit

if TYPE_CHECKING:
    from datamigrate.faces.output import Output


@cli.command()
@click.option("--offline", is_flag=True, help="Without the database: no drift, no look at keys and columns.")
@click.option(
    "--revisions", type=click.Path(path_type=Path), metavar="DIR", help="Only lint the revisions in a folder."
)
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "github"]), default="text", show_default=True
)
@verb
def check(output: Output, get: Get, offline: bool, revisions: Path | None, form: str) -> Exit:
    """Find what would go wrong later: broken scripts, circles, drift, data work in schema revisions."""
    import anyio

    from datamigrate.faces.checking import as_github, as_text, lint_folder
    from datamigrate.faces.checking import check as examine

    checked = lint_folder(revisions) if revisions else anyio.run(examine, get(), offline)
    lines = as_github(checked) if form == "github" else as_text(checked)
    output.as_asked(form == "json").data(
        {"findings": [f.facts() for f in checked.findings]}, "\n".join(lines) or None
    )
    count = len(checked.findings)
    output.say(f"{count} finding{'' if count == 1 else 's'}." if count else "Nothing found.")
    return Exit.PENDING if checked.has_errors else Exit.OK


@cli.command()
@click.option(
    "--grants", "role", metavar="ROLE", help="Instead: the SQL that gives this role what a run needs."
)
@verb
def doctor(output: Output, get: Get, role: str | None) -> Exit:
    """Say what was found: configuration, database, versions, privileges, ledger, hooks in env.py."""
    import anyio

    from datamigrate.faces.doctor import examine_project
    from datamigrate.faces.render import doctor_table
    from datamigrate.faces.rights import as_sql, grants_for

    if role:
        rights = anyio.run(grants_for, get(), role)
        facts = {"role": role, "statements": rights.statements, "not_known": list(rights.unknown)}
        output.data(facts, as_sql(rights))
        return Exit.OK
    found = anyio.run(examine_project, get())
    output.data({"diagnoses": [d.facts() for d in found]}, doctor_table(found))
    return Exit.FAILED if any(d.verdict == "wrong" for d in found) else Exit.OK
