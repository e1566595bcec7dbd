"""One replica's life: construction, hooks, endpoints, HTTP, health, drain."""
