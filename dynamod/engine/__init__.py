"""The engine: store, planner, drivers and observers, embeddable. The daemon is this with a REST face."""

from dynamod.core.errors import EngineError
from dynamod.engine.engine import Engine
from dynamod.engine.feed import EventSubscription
from dynamod.engine.options import EngineOptions
from dynamod.store.queries import EventFilter

__all__ = ["Engine", "EngineError", "EngineOptions", "EventFilter", "EventSubscription"]
