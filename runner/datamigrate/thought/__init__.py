"""Floor 2, pure thought: plain data in, plain data out; nothing here touches a database or a file."""
