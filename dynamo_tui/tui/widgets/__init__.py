"""Widgets of the dashboard: each draws from plain data that a screen gives it."""
