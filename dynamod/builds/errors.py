"""Why a build cannot be made, read or used. Part of the engine's tree, so that every face reports them alike.

EngineError
└── BuildError
    ├── BadSources      the project's files or its build settings
    ├── LockFailed      the dependencies cannot be resolved or installed
    └── BadArchive      an archive that is damaged, unsafe or from a newer version
"""

from __future__ import annotations

from dynamod.core.errors import EngineError


class BuildError(EngineError):
    type = "build-error"


class BadSources(BuildError):
    type = "bad-sources"


class LockFailed(BuildError):
    type = "lock-failed"


class BadArchive(BuildError):
    type = "bad-archive"
