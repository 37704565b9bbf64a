"""Fused kernels, each with a plain reference beside it. There are none yet: the model uses torch's own."""
