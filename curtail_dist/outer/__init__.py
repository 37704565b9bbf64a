"""The outer step: pseudo-gradients, their exchange, and the optimizer that takes them."""
