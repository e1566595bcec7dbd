"""One module a command, or a few that belong together. Each is imported when its command is run."""
