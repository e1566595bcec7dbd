"""The KV router without processors: the frontend tokenises and asks the router itself, which saves each request a hop.

dynamo serve graphs.direct_router:Frontend -f configs/agg_router.yaml
"""

from components.frontend import Frontend
from components.kv_router import Router
from components.worker import Worker

Frontend.link(Router).link(Worker)
Frontend.link(Worker)
