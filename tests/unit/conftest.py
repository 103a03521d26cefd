"""Settings of the unit tests."""

from hypothesis import settings

# No deadline for one example: on shared cores it says more of the neighbours than of the code.
settings.register_profile("darkroom", deadline=None)
settings.load_profile("darkroom")
