"""Encoders for GalaxyCNN from weights that PyTorch wrote."""
