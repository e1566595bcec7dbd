"""Old path of the service types."""

from __future__ import annotations

from dynamo.sdk.linking import LinkedServices
from dynamo.sdk.options import DynamoOptions as DynamoConfig
from dynamo.sdk.options import LeaseConfig
from dynamo.sdk.services import Service as DynamoService
from dynamo.sdk.services import service

__all__ = ["DynamoConfig", "DynamoService", "LeaseConfig", "LinkedServices", "service"]
