from enum import IntEnum
from typing import Any
import builtins
import uuid

from . import test_service as test_service
