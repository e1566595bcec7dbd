"""A real Docker engine for every test here."""

from tests.docker_engine import base_image, engine

__all__ = ["base_image", "engine"]
