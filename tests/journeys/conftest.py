"""What several journeys share: jobs of comparisons and claims that run in this process."""

from __future__ import annotations

import pytest
from in_this_process import InThisProcess

from wordorder.experiments import calibration, runner


@pytest.fixture
def jobs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run jobs in this process, and time the fewest steps that tell how fast a machine is."""
    monkeypatch.setattr(runner, "ProcessLauncher", InThisProcess)
    monkeypatch.setattr(calibration, "SECONDS_TIMED", 0.0)
