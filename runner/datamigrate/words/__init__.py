"""Floor 1, words: errors, exit codes, events and the frozen values that everyone passes."""
