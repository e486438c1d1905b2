"""Measurements of datamigrate, side by side with the limit and with what people would otherwise do."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

sys.path.append(str(ROOT / "tests"))  # how a PostgreSQL server is started is told there, once
