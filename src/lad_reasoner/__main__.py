"""`python -m lad_reasoner`: the command line where the script `lad-reasoner` is not on the path."""

from lad_reasoner.cli.app import main

main()
