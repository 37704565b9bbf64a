"""How well sites learn together: small runs on the CPU, at equal tokens and equal global batch."""
