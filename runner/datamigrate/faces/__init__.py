"""Floor 6, faces: one application object with a method per verb, and the command line before it."""
