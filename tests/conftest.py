"""Fixtures that several suites share."""

from tests.postgres import empty_postgres, postgres

__all__ = ["empty_postgres", "postgres"]
