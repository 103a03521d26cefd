"""Darkroom: a fleet of unequal GPU machines as one image plant, on Apache Airflow."""

__version__ = "0.1.0"
