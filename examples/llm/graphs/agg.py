"""Aggregated serving without a router: workers take requests in turn.

dynamo serve graphs.agg:Frontend -f configs/agg.yaml
"""

from components.frontend import Frontend
from components.processor import Processor
from components.worker import Worker

Frontend.link(Processor).link(Worker)
Frontend.link(Worker)
