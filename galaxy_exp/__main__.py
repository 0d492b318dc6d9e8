"""`python -m galaxy_exp` is `galaxy-exp`."""

from galaxy_exp.cli.main import main

main()
