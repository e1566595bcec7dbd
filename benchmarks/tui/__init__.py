"""How the dashboard behaves under load: `python -m benchmarks.tui.measure`."""
