"""What was seen of migrations that cannot run yet, for people and for programs."""

from typing import Any

from datamigrate.doing.previewing import Preview, Way

SCHEMA = 1
"""The version of a dry run's JSON, which docs/dry-run.schema.json describes."""


def way_told(preview: Preview) -> list[str]:
    """What was done to see further, and what was not seen for all that, a sentence each."""
    said = way_gone(preview)
    said += [f"{unseen.name}: not previewed, because {unseen.reason}." for unseen in preview.unseen]
    if preview.unseen and preview.way is None:
        said.append("`--through` does what they wait for, tries them there, and undoes it all.")
    return said


def preview_facts(preview: Preview) -> dict[str, Any]:
    """The same as plain data; sizes in bytes."""
    return {
        "through": None if preview.way is None else _way_facts(preview, preview.way),
        "not_previewed": [{"name": u.name, "reason": u.reason} for u in preview.unseen],
    }


def way_gone(preview: Preview) -> list[str]:
    """What was done to see further."""
    if preview.way is None:
        return []
    way, seen = preview.way, ", ".join(rehearsal.name for rehearsal in preview.rehearsals)
    done = [f"applied revision {revision}" for revision in way.revisions]
    done += [f"did {_rows(p.rows, p.pending)} of {p.name}" for p in way.prepared]
    if way.gates:
        done.append(f"took the gate on {', '.join(way.gates)} as passed")
    place = (
        "In one transaction, rolled back by now; it held locks on what the revisions change"
        if way.copied is None
        else f"On a copy of the database ({way.copied:,} bytes), deleted by now"
    )
    said = [f"To preview {seen or 'what is blocked'}: {'; '.join(done) or 'nothing was needed'}. {place}."]
    if way.in_part:
        names = ", ".join(p.name for p in way.in_part)
        said.append(
            f"The data of {names} was there only in part: of what comes behind it only the beginning was tried, "
            "and there too rows may be missing."
        )
    return said


def _rows(rows: int, pending: int | None) -> str:
    return f"{rows:,} rows" if pending is None else f"{rows:,} of {pending:,} rows"


def _way_facts(preview: Preview, way: Way) -> dict[str, Any]:
    return {
        "previewed": [rehearsal.name for rehearsal in preview.rehearsals],
        "revisions": list(way.revisions),
        "prepared": [{"name": p.name, "rows": p.rows, "pending": p.pending} for p in way.prepared],
        "gates_taken_as_passed": list(way.gates),
        "copied_bytes": way.copied,
    }
