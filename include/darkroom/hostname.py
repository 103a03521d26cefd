"""By which name Airflow knows a scheduler or triggerer that has a twin on the same machine."""

import os
import socket

PART_ENV = "DARKROOM_PART"
CALLABLE = f"{__name__}.of_part"
"""For `[core] hostname_callable`."""


def of_part() -> str:
    """`box/scheduler-2`: two of them on one machine must differ, or nobody sees which one is dead."""
    return name_of(os.environ[PART_ENV])


def name_of(part: str) -> str:
    """The name of a part of the stack on this machine."""
    return f"{socket.gethostname()}/{part}"
