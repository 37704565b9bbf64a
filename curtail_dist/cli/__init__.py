"""The verbs of `curtail`."""
