"""A small chat: the reference application whose schema and data this repository migrates."""
