"""Our own tables: what is done, who works on it, who ran what and when."""
