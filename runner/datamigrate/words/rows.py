"""Numbers of rows as people write them: 1 row, 2,000 rows."""

from datamigrate.words.duration import human_duration


def human_rows(number: int) -> str:
    """So many rows."""
    return "1 row" if number == 1 else f"{number:,} rows"


def rows_in(rows: int, seconds: float, before: int) -> str:
    """How many of the rows were done in so many seconds, and all of them where some were done `before`."""
    in_all = f", {rows:,} in all" if before else ""
    return f"{human_rows(rows - before)} in {human_duration(seconds)}{in_all}"
