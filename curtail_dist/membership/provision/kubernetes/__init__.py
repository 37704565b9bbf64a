"""A site's ranks in pods of a Kubernetes cluster."""
