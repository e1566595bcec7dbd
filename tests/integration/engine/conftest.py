"""Nothing that a test starts outlives it."""

from tests.integration.engine.leftovers import no_leftovers

__all__ = ["no_leftovers"]
