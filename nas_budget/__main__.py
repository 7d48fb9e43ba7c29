"""`python -m nas_budget` is the `nas-budget` command."""

import sys

from nas_budget.cli import main

sys.exit(main())
