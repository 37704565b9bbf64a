"""Shipped doubles; they pass the same conformance tests as the real parts. For tests alone."""
