"""From a target on the command line to the service it names.

Forms: `module:Attr`, `pkg.mod:Attr`, `path/to/file.py:Attr`, `module` (its one root service) and
`mod:Service.dependency`.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from dynamo.sdk.errors import SdkError, TargetError, nearest
from dynamo.sdk.services import Service


@dataclass(frozen=True)
class Loaded:
    """A service and where it was found. `target` finds it again from the same working directory."""

    service: Service[Any]
    module: ModuleType
    target: str


def load(target: str, working_dir: Path | None = None) -> Loaded:
    """Import a target.

    The working directory is put first on `sys.path` and stays there: classes may import lazily.

    Raises:
        TargetError: nothing to import, the module fails to import, or it holds no such service.
        SdkError: the module declares something wrongly; the message says what.
    """
    root = (working_dir or Path.cwd()).expanduser().resolve()
    if not root.is_dir():
        raise TargetError(f"{target}: the working directory {root} does not exist")
    location, _, path = target.partition(":")
    if not location:
        raise TargetError(f"{target!r} is not a target; write module:Service, or path/to/file.py:Service")
    module_name, location, search = _module_name(location, root)
    if str(search) not in sys.path:
        sys.path.insert(0, str(search))
    module = _import(module_name, target)
    service, attribute = _follow(module, path) if path else _root_service(module)
    return Loaded(service=service, module=module, target=f"{location}:{attribute}")


def find_and_load_service(import_str: str, working_dir: str | None = None) -> Service[Any]:
    """As `load`, giving the service alone; old code calls it."""
    return load(import_str, Path(working_dir) if working_dir else None).service


def _module_name(location: str, root: Path) -> tuple[str, str, Path]:
    """Name of the module to import, the location that names it in a target, and the directory it is found from."""
    path = Path(location).expanduser()
    if path.suffix != ".py" and os.sep not in location:
        return location, location, root
    file = (path if path.is_absolute() else root / path).resolve()
    if file.is_dir() or not file.is_file():
        raise TargetError(f"{location}: there is no such file (looked in {root})")
    if file.suffix != ".py":
        raise TargetError(f"{location}: a target's file must be a .py file")
    top = file.parent
    while (top / "__init__.py").exists() and top != top.parent:
        top = top.parent
    inside = file.is_relative_to(root)
    parts = file.with_suffix("").relative_to(root if inside else top).parts
    if not all(part.isidentifier() for part in parts):
        parts, top, inside = (file.stem,), file.parent, file.parent == root
    if inside:
        return ".".join(parts), ".".join(parts), root
    return ".".join(parts), str(file), top


def _import(name: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except SdkError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise TargetError(f"{target}: there is no module {error.name!r} (looked in {sys.path[0]})") from None
        raise TargetError(f"{target}: {_where(error)}{error}") from error
    except Exception as error:
        raise TargetError(f"{target}: {_where(error)}{type(error).__name__}: {error}") from error


def _where(error: BaseException) -> str:
    """`file.py:12: ` of the user's own line that an import failed on."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}: "
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    own = [f for f in frames if Path(f.filename) != Path(__file__)]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}: " if own else ""


def _follow(module: ModuleType, path: str) -> tuple[Service[Any], str]:
    found: Any = module
    walked = module.__name__
    for step in path.split("."):
        if isinstance(found, Service):
            if step not in found.dependencies:
                raise TargetError(
                    f"{walked}: service {found.name!r} has no dependency {step!r}{nearest(step, found.dependencies)}"
                )
            found = found.dependencies[step].on
        elif not hasattr(found, step):
            services = [name for name, value in vars(module).items() if isinstance(value, Service)]
            raise TargetError(f"{walked}: there is no {step!r}{nearest(step, services)}")
        else:
            found = getattr(found, step)
        walked = f"{walked}.{step}" if walked != module.__name__ else f"{walked}:{step}"
    if not isinstance(found, Service):
        raise TargetError(f"{walked} is not a service; decorate it with @service")
    return found, path


def _root_service(module: ModuleType) -> tuple[Service[Any], str]:
    """The one service of a module that no other one depends on."""
    services = {name: value for name, value in vars(module).items() if isinstance(value, Service)}
    if not services:
        raise TargetError(f"{module.__name__}: there is no service in this module; decorate a class with @service")
    needed = {edge.on for service in services.values() for edge in service.dependencies.values()}
    roots = {service: name for name, service in services.items() if service not in needed}
    if len(roots) != 1:
        names = ", ".join(f"{module.__name__}:{name}" for name in (roots.values() or services))
        why = "several services that nothing depends on" if roots else "only services that depend on each other"
        raise TargetError(f"{module.__name__}: there are {why}; name one of {names}")
    ((service, name),) = roots.items()
    return service, name
