"""The entry point of the container image: `python -m darkroom.stack.container airflow scheduler`.

Some settings of ours switch on what Airflow has built in: log format, outlets, single options of its own.
Here they become Airflow's variables, as `darkroom up` makes them; then the command takes over this process.
"""

import os
import sys

from darkroom.errors import BadRequest
from darkroom.settings import settings
from darkroom.stack.airflow_settings import overrides
from darkroom.stack.outlets import outlets


def environment() -> dict[str, str]:
    """Airflow's variables, as the settings want them.

    Raises:
        BadRequest: a setting is not what it should be.
    """
    return outlets(settings()) | overrides()


def main() -> None:
    """Become the command."""
    try:
        os.environ.update(environment())
    except BadRequest as error:
        sys.exit(str(error))
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  (there shall be no shell)


if __name__ == "__main__":
    main()
