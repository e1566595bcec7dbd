"""Pure drawing: numbers in, characters out."""
