"""Import paths of the original SDK, kept for graphs written for it; the code lives one level up."""
