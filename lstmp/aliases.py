"""Short names of types that annotations use everywhere."""

from typing import Any

import numpy as np

from lstmp.config import Json

__all__ = ["Array", "Json"]
Array = np.ndarray[Any, Any]  # of any shape and dtype, which docstrings give
