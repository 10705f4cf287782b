from pathlib import Path

import pytest

REAL = Path(__file__).resolve().parents[3] / "shared" / "realdata"


@pytest.fixture(scope="session")
def real() -> Path:
    if not REAL.is_dir():
        pytest.skip("skipped: no ../shared")
    return REAL
