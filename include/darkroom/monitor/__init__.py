"""What people look at in a browser, and its API: mounted in Airflow's api-server."""
