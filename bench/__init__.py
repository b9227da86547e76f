"""The benchmarks; `python -m bench.run` runs them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / 'gen-py'))
