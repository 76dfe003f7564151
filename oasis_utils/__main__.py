"""`python -m oasis_utils`: see cli/parser.py."""

from oasis_utils.cli.parser import main

if __name__ == "__main__":
    raise SystemExit(main())
