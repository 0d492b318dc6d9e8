"""The winner of a sweep: held-out test, packaging, registration, promotion, loading and prediction.

Nothing is imported here, so that `import galaxy_exp.registry` stays cheap; take names from the modules.
"""
