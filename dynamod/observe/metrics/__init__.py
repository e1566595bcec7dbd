"""Replicas' metrics: collected from their streams, kept in a file of their own, queried as series and rates."""
