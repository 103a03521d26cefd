"""Tests of faults, run by themselves: this process has the stages of `bench/fleet`, as its plant has."""

import os
from pathlib import Path

FLEET = Path(__file__).resolve().parents[2] / "bench" / "fleet"
os.environ |= {"DARKROOM_CONFIG": str(FLEET / "darkroom.toml"), "DARKROOM_CODE": str(FLEET)}
