"""Compares journals, MLflow and processes of the sweeps of a folder, and repairs what disagrees."""
