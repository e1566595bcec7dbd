"""Old path of the endpoint decorators and the client."""

from __future__ import annotations

from dynamo.sdk.client import DependencyClient as DynamoClient
from dynamo.sdk.endpoints import Endpoint as DynamoEndpoint
from dynamo.sdk.endpoints import abstract_endpoint, api, endpoint

__all__ = ["DynamoClient", "DynamoEndpoint", "abstract_endpoint", "api", "endpoint"]
