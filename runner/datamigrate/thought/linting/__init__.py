"""Finding data manipulation in the text of a schema revision, without running it."""
