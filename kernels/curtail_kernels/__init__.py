"""Fused kernels, each with a plain reference beside it, and what computes attention.

Importing this imports neither torch nor Triton: a kernel's module does, when it is needed.
"""
