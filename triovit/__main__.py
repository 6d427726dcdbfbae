"""``python -m triovit``."""

from triovit.cli import main

main()
