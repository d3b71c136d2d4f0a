"""Imported before all else where nothing is quantised: bitsandbytes is as if not installed.

PEFT imports it wherever it is. That takes as long as everything else that a training
imports, and asks for GPUs, after which a process cannot be forked.
"""

import sys
from typing import Any, cast

from motools.training.local.quantization import LIBRARY

cast("dict[str, Any]", sys.modules).setdefault(LIBRARY, None)
