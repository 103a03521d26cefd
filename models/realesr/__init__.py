"""The super-resolution model, and how it was converted."""
