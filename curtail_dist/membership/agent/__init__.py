"""The agent of one site: what follows signal, policy and operator, and has ranks started and drained."""
