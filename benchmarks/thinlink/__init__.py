"""A thin link to measure on: sites as processes, joined at a limited rate."""
