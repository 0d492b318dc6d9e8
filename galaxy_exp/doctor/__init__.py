"""Compares what journals, MLflow and processes say of the sweeps of a folder, and mends what disagrees."""
