"""The command line: thin, one module a group of commands; nothing else in galaxy_exp knows of it."""
