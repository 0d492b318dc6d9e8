"""Runs the trials of a sweep: the ask/tell loop, and the engines that own the worker processes."""
