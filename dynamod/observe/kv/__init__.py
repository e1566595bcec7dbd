"""KV routing: what the routers decide, and how much of it was right."""
