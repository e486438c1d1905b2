"""Numbers of rows as people write them: 1 row, 2,000 rows."""


def human_rows(number: int) -> str:
    """So many rows."""
    return "1 row" if number == 1 else f"{number:,} rows"
