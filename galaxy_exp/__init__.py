"""galaxy_exp."""
