"""A site's part in a run: entering, rounds, leaving. The commit order is in round.py."""
