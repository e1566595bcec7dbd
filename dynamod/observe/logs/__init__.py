"""Replicas' logs: reading, filtering, merging and following what the shims write."""
