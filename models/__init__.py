"""The models that ship with Darkroom, and how the ones of its own were made."""
