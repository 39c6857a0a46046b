"""`python -m erprm` is the `erprm` command."""

import sys

from erprm.cli import program

sys.exit(program())
