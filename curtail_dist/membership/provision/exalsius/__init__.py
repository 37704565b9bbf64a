"""A site's machines, added to a Kubernetes cluster by Exalsius."""
