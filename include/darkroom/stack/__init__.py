"""The embedded plant: PostgreSQL, Valkey, Airflow, workers and model servers on one machine."""
