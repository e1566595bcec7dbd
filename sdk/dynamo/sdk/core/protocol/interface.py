"""Old path of the interfaces between services, endpoints and whoever runs them."""

from __future__ import annotations

from dynamo.sdk.dependency import Dependency as DependencyInterface
from dynamo.sdk.endpoints import Endpoint as DynamoEndpointInterface
from dynamo.sdk.endpoints import Transport as DynamoTransport
from dynamo.sdk.interface import AbstractService
from dynamo.sdk.linking import LinkedServices
from dynamo.sdk.options import DynamoOptions as DynamoConfig
from dynamo.sdk.options import LeaseConfig
from dynamo.sdk.options import ServiceOptions as ServiceConfig
from dynamo.sdk.services import Service as ServiceInterface


class ComponentType:
    """Kinds of components that planners treat apart from workers."""

    PLANNER = "planner"


__all__ = [
    "AbstractService",
    "ComponentType",
    "DependencyInterface",
    "DynamoConfig",
    "DynamoEndpointInterface",
    "DynamoTransport",
    "LeaseConfig",
    "LinkedServices",
    "ServiceConfig",
    "ServiceInterface",
]
