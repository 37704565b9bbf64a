"""Who takes part: the protocol between sites, and the agent that brings a site in and out."""
