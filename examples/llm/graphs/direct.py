"""The smallest graph: a frontend that plans in its own process, and workers that take requests in turn.

dynamo serve graphs.direct:Frontend -f configs/agg.yaml
"""

from components.frontend import Frontend
from components.worker import Worker

Frontend.link(Worker)
