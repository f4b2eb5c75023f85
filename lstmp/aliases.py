"""Short names of types that annotations use everywhere."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]  # of any shape and dtype, which docstrings give
Json = dict[str, Any]  # a JSON object, or a mapping that can be written as one
