"""What Airflow sees: tasks, task groups, defaults, policies. The only package that imports airflow."""
