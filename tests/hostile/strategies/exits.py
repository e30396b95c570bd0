"""A plugin that exits as if all were well."""

import sys

sys.exit(0)
