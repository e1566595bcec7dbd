"""Windows on top of the pages: confirmation, help, a plan."""
