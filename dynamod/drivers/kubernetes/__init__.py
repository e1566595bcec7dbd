"""Graphs on Kubernetes.

`manifests.manifests(spec, options)` derives plain objects and the list of what has no equivalent; nothing in
there talks to a cluster or imports a client. `kustomize`, `helm` and `dynamo_graph` give the same graph other
forms, and `export` is the program that the command line runs.
"""
