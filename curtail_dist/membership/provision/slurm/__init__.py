"""A site's ranks as one job of a Slurm cluster."""
