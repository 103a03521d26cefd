"""Airflow's REST API, as its client."""
