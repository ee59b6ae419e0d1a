"""``python -m nettrim`` is the command ``nettrim``."""

import sys

from .cli import main

sys.exit(main())
