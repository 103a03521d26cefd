"""What `darkroom` can do: one module per noun, assembled in `cli.py`."""
