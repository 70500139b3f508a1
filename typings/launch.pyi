# The package comes without complete types.
from typing import Any

def __getattr__(name: str) -> Any: ...
