"""The seed by which cells are drawn: the day's, so that each day others are run; shown, so that they can be again."""

import os
import sys
from datetime import date
from pathlib import Path

# set by the first process, so that all processes of a test run draw the same cells
os.environ.setdefault("TRANSFERLAB_MATRIX_SEED", str(date.today().toordinal()))
sys.path.insert(0, str(Path(__file__).parent))


def pytest_report_header() -> str:
    return f"coverage matrix: TRANSFERLAB_MATRIX_SEED={os.environ['TRANSFERLAB_MATRIX_SEED']}"
