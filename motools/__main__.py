"""``python -m motools``: the command line."""

from motools.cli import main

main()
