"""What is remembered of a run: typed events, and the sinks they may go to."""
