"""What a sweep learnt, as figures and tables, made from records alone.

Nothing is imported here, so that `import galaxy_exp.report` stays cheap; take names from the modules.
"""
