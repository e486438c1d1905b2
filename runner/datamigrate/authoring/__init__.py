"""Floor 3, authoring: what a script imports, how it is read, and how a new one is written."""
