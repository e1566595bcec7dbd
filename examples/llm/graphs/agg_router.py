"""Aggregated serving with the KV router: a prompt goes where its prefix is cached, load permitting.

dynamo serve graphs.agg_router:Frontend -f configs/agg_router.yaml
"""

from components.frontend import Frontend
from components.kv_router import Router
from components.processor import Processor
from components.worker import Worker

Frontend.link(Processor).link(Router).link(Worker)
Frontend.link(Worker)
