"""`run --dry-run --html FILE` writes one page that stands alone, in which every value is only text."""

from __future__ import annotations

import struct
from html.parser import HTMLParser
from pathlib import Path

import pytest

from browser import BROWSER_VARIABLE, NAMES, find_chromium, look_at, print_to, rows_in, shoot
from databases import ScratchDatabase
from projects import FULL_NAME, NICK, NICKNAMES, PEOPLE, Project, add_people, project_in

EVIL = "<script>document.title='taken'</script><img src=http://evil.example/x onerror=alert(1)>\"'&"
DELETE = 'migrate = delete_rows(people, pending=people.c.id > 8, mask=["first"])\n'
LOOKED_UP = """
nicknames = sa.table("nicknames", sa.column("person", sa.Integer), sa.column("nick", sa.Text))
nick = sa.select(nicknames.c.nick).where(nicknames.c.person == people.c.id).scalar_subquery()

migrate = update_rows(people, pending=people.c.nick.is_(None), values={people.c.nick: nick})
"""
VOID = {"meta", "br", "img", "link", "input", "hr"}


@pytest.fixture
def page(tmp_path: Path, database: ScratchDatabase) -> Path:
    """The page of a project with something of everything: fine, deleted, masked, failing, ahead, not previewed."""
    project = project_in(tmp_path / "project", database)
    project.upgrade(PEOPLE)
    add_people(database, 10)
    database.execute("UPDATE people SET first = :evil WHERE id = 1", evil=EVIL)
    project.write_script("full_name", FULL_NAME)
    project.write_script("nick", NICK, requires=NICKNAMES)
    project.write_script("old", DELETE)
    project.write_script("broken", FULL_NAME.replace("people.c.last", "people.c.missing"))
    failing = (
        NICK.replace("nick", "last")
        .replace(".is_(None)", " != ''")
        .replace("return", "raise ValueError(row.first)\n    return")
    )
    project.write_script("failing", failing)
    project.write_revision("beef00000001", NICKNAMES, upgrade='op.execute("UPDATE nowhere SET x = 1")')
    project.write_script("never", FULL_NAME, requires="beef00000001")
    return written(project, tmp_path / "page.html", exits=1)


def written(project: Project, file: Path, *arguments: str, exits: int = 0) -> Path:
    told = project.quick("run", "--dry-run", "--through", "--html", str(file), *arguments, exits=exits).err
    assert f"The page for reviewers is {file}." in told
    return file


class Reader(HTMLParser):
    """Reads a page strictly: what is opened is closed, in order."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_well_formed_and_every_value_in_it_is_text(page: Path) -> None:
    read = Reader(page)
    assert read.open == []
    assert not {"script", "img", "link", "iframe", "object"} & set(read.tags)
    assert EVIL in read.text
    assert not any(name.startswith("on") for name, _ in read.attributes)


def test_the_page_refers_to_nothing_outside_itself(page: Path) -> None:
    read = Reader(page)
    for name, value in read.attributes:
        if name in ("src", "href", "action", "data"):
            assert (value or "").startswith("#"), (name, value)
    text = page.read_text("utf-8")
    assert "@import" not in text
    assert "url(" not in text
    targets = {value for name, value in read.attributes if name == "id"}
    assert {(v or "")[1:] for n, v in read.attributes if n == "href"} <= targets


def test_the_page_says_what_a_reviewer_needs(page: Path) -> None:
    text = " ".join(Reader(page).text.split())
    for said in (
        "would not go well",
        "Scripts that cannot be used",
        "would fail",
        "10 rows pending (counted).",
        "Tried twice on",
        "needs revision 2b3c4d5e6f70, which is not applied",
        "To preview nick: applied revision 2b3c4d5e6f70",
        "never, because revision beef00000001 cannot be applied in a preview",
        "numbers taken from sequences",
        "Nothing was written.",
    ):
        assert said in text, said


def test_masked_columns_are_hidden_in_the_page(page: Path) -> None:
    text = Reader(page).text
    assert "(masked)" in text
    assert "Last9" in text
    assert "First9" not in text


def test_an_index_to_create_is_there_to_be_copied(
    tmp_path: Path, postgres_project: Project, postgres_database: ScratchDatabase
) -> None:
    add_people(postgres_database, 1000)
    postgres_database.script(
        "CREATE TABLE nicknames (person integer, nick text);"
        "INSERT INTO nicknames SELECT i, 'n' || i FROM generate_series(1, 1000) i; ANALYZE nicknames, people"
    )
    postgres_project.write_script("nick", LOOKED_UP)
    file = written(postgres_project, tmp_path / "page.html", exits=1)
    text = file.read_text("utf-8")
    assert "<code>CREATE INDEX CONCURRENTLY ix_nicknames_person ON nicknames (person);</code>" in text
    assert '<span class="badge bad">slow</span>' in text
    accepted = written(postgres_project, tmp_path / "accepted.html", "--allow-slow")
    assert '<span class="badge warn">slow</span>' in accepted.read_text("utf-8")


def test_json_and_page_may_be_asked_for_together(tmp_path: Path, project: Project) -> None:
    file = tmp_path / "page.html"
    project.write_script("full_name")
    facts = project.json("run", "--dry-run", "--html", str(file))
    assert [r["name"] for r in facts["rehearsals"]] == ["full_name"]
    assert Reader(file).open == []


def test_a_page_that_cannot_be_written_is_a_usage_error(tmp_path: Path, sqlite_project: Project) -> None:
    told = sqlite_project.quick(
        "run", "--dry-run", "--html", str(tmp_path / "nowhere" / "page.html"), exits=2
    )
    assert "cannot be written" in told.err


@pytest.mark.parametrize("option", [("--through",), ("--html", "page.html")])
def test_options_of_the_dry_run_never_run_anything_by_mistake(
    sqlite_project: Project, sqlite_database: ScratchDatabase, option: tuple[str, ...]
) -> None:
    add_people(sqlite_database, 3)
    sqlite_project.write_script("full_name")
    before = sqlite_database.dump()
    told = sqlite_project.quick("run", *option, exits=2)
    assert f"{option[0]} is for a dry run, and this would write." in told.err
    assert sqlite_database.dump() == before


# In a real browser


@pytest.fixture
def chromium() -> str:
    """A Chromium; without one a skip that says so."""
    found = find_chromium()
    if found is None:
        pytest.skip(
            f"no Chromium: {BROWSER_VARIABLE} is not set, and none of {', '.join(NAMES)} is on the PATH"
        )
    return found


def test_a_browser_shows_every_row_and_runs_and_fetches_nothing(
    chromium: str, page: Path, tmp_path: Path
) -> None:
    sight = look_at(chromium, page, tmp_path)
    rows = rows_in(sight.document)
    assert ["1", "full_name", "NULL", f"{EVIL} Last1"] in rows
    assert ["2", "nick", "NULL", "Fi"] in rows
    assert [row[3] for row in rows if row[0:2] == ["9", "last"]] == ["deleted"]
    assert [row[2] for row in rows if row[0:2] == ["9", "first"]] == ["(masked)"]
    assert "<title>Dry run: 4 data migrations</title>" in sight.document
    assert sight.console == []
    assert "evil.example" not in sight.asked_for


def test_a_browser_shows_it_in_light_and_dark_and_prints_it(
    chromium: str, page: Path, tmp_path: Path
) -> None:
    light, dark = shoot(chromium, page, tmp_path), shoot(chromium, page, tmp_path, dark=True)
    for picture in (light, dark):
        width, height = struct.unpack(">II", picture.read_bytes()[16:24])
        assert width > 0 < height
    assert light.read_bytes() != dark.read_bytes()
    assert print_to(chromium, page, tmp_path).read_bytes().startswith(b"%PDF-")


def test_a_browser_would_not_run_a_script_even_if_one_got_in(
    chromium: str, page: Path, tmp_path: Path
) -> None:
    text = page.read_text("utf-8").replace("</body>", "<script>document.title = 'taken'</script></body>")
    spoiled = tmp_path / "spoiled.html"
    spoiled.write_text(text, "utf-8")
    sight = look_at(chromium, spoiled, tmp_path)
    assert "<title>Dry run" in sight.document
    assert "Content Security Policy" in " ".join(sight.console)
