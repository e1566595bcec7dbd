"""Pages of the dashboard. Each is a view that a pane shows; it draws from the store and starts its own feeds."""
