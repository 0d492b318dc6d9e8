"""Choosing hyperparameters (oracle, samplers) and ending hopeless trials (schedulers)."""
