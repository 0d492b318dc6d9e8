"""How good a classifier is, and how sure one can be of that: metrics, confidence, resampling, choice of the winner.

Nothing is drawn, tracked or registered here, and nothing is imported here: take names from the modules.
"""
