"""Hooks and health handlers: methods that the life of a replica calls.

The decorators mark functions and change nothing else, so a marked method can still be called directly.
Order is class-body order, base classes first; a method that a subclass overrides runs once, as the override.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from dynamo.sdk.errors import DefinitionError

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__dynamo_hooks__"


class Hook(Enum):
    """When a marked method runs."""

    DEPLOYMENT = "on_deployment"
    STARTUP = "on_startup"
    START = "async_on_start"
    SHUTDOWN = "on_shutdown"
    LIVENESS = "liveness"
    READINESS = "readiness"


# Names that stand for a health handler without a decorator.
_BY_NAME = {"__is_alive__": Hook.LIVENESS, "__is_ready__": Hook.READINESS}


def _mark(func: F, hook: Hook) -> F:
    target = func.__func__ if isinstance(func, (staticmethod, classmethod)) else func
    if not callable(target):
        raise DefinitionError(f"@{hook.value} decorates methods, not {func!r}")
    setattr(target, _MARK, getattr(target, _MARK, frozenset()) | {hook})
    return func


def on_deployment(func: F) -> F:
    """Run once per deployment, before any worker of the graph starts; there is no instance yet.

    The method takes no argument, or the class as its only one. One that is not async runs in a thread.
    """
    return _mark(func, Hook.DEPLOYMENT)


def on_startup(func: F) -> F:
    """Run in each replica before every other hook; sync or async.

    A static or class method runs before the class is constructed, any other right after.
    """
    return _mark(func, Hook.STARTUP)


def async_on_start(func: F) -> F:
    """Run in each replica after construction and before endpoints are served; sync or async."""
    return _mark(func, Hook.START)


def on_shutdown(func: F) -> F:
    """Run when a replica has drained; sync or async."""
    return _mark(func, Hook.SHUTDOWN)


async_on_shutdown = on_shutdown


def liveness(func: F) -> F:
    """Whether the replica is alive: truthy is healthy, an exception is unhealthy with its text."""
    return _mark(func, Hook.LIVENESS)


def readiness(func: F) -> F:
    """Whether the replica can take requests now: truthy is healthy, an exception is unhealthy with its text."""
    return _mark(func, Hook.READINESS)


def hook_names(cls: type, hook: Hook) -> list[str]:
    """Names of the methods of a class that carry a hook, in the order they run."""
    names: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            target = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            marked = hook in getattr(target, _MARK, frozenset())
            if marked or (_BY_NAME.get(name) is hook and callable(target)):
                names[name] = None
    return list(names)


async def run_hooks(instance: object, hook: Hook) -> None:
    """Run every method of `instance` that carries `hook`, one after the other.

    Static and class methods that carry `Hook.STARTUP` are left out: they ran before the construction.

    Raises:
        Exception: whatever a hook raises; those after it do not run.
    """
    early = set(_static_names(type(instance), hook)) if hook is Hook.STARTUP else set()
    for name in hook_names(type(instance), hook):
        if name not in early:
            await _run(getattr(instance, name))


async def run_static_hooks(cls: type, hook: Hook) -> None:
    """Run the static and class methods that carry `hook`, without an instance.

    Raises:
        Exception: whatever a hook raises; those after it do not run.
    """
    for name in _static_names(cls, hook):
        await _run(getattr(cls, name))


def _static_names(cls: type, hook: Hook) -> list[str]:
    return [
        name
        for name in hook_names(cls, hook)
        if isinstance(inspect.getattr_static(cls, name), (staticmethod, classmethod))
    ]


async def _run(hook: Callable[[], Any]) -> None:
    result = hook()
    if inspect.isawaitable(result):
        await result


async def run_deployment_hooks(cls: type) -> None:
    """Run what `cls` wants done once per deployment.

    Raises:
        DefinitionError: a hook asks for more than the class.
        Exception: whatever a hook raises.
    """
    for name in hook_names(cls, Hook.DEPLOYMENT):
        func = getattr(cls, name)
        needed = [
            p for p in inspect.signature(func).parameters.values() if p.default is p.empty and p.kind <= p.KEYWORD_ONLY
        ]
        if len(needed) > 1:
            raise DefinitionError(f"{cls.__qualname__}.{name}: an @on_deployment hook runs before there is an instance")
        arguments = (cls,) if needed else ()
        if inspect.iscoroutinefunction(func):
            await func(*arguments)
        else:
            import asyncio  # not above: `inspect` imports graphs without paying for an event loop

            # Such hooks download models and migrate databases: in a thread they leave the lease alive.
            await asyncio.to_thread(func, *arguments)
