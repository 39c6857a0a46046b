"""`python -m erprm` is the `erprm` command."""

import sys

from erprm.cli import main

sys.exit(main())
