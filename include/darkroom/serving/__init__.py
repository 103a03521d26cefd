"""The model server around a stage, and its client."""
