"""Old path of the client behind a dependency."""

from __future__ import annotations

from dynamo.sdk.client import DependencyClient as DynamoClient
from dynamo.sdk.dependency import Dependency as DynamoDependency
from dynamo.sdk.dependency import depends

__all__ = ["DynamoClient", "DynamoDependency", "depends"]
