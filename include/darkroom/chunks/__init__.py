"""One chunk through one stage, on a lane of a host."""
