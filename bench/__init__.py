"""Measurements: what Darkroom costs and what it gains, as ratios within one run."""
