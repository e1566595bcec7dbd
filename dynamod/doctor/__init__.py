"""Finds what is wrong with a machine, and says what to do. One module per family of checks; none changes anything."""
