"""Airflow's settings inside the container image: `python -m darkroom.stack.airflow_cfg > airflow.cfg`.

The fleet's column of the table, and what the image itself decides. A file, so that every command in a
container has them; addresses and secrets come with the container's environment, which goes before the file.
"""

from darkroom.settings import REPOSITORY
from darkroom.stack.airflow_settings import environ

IMAGE = {
    "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
    # The simple auth manager says of itself that it is for development.
    "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
    # Of its own network; the host publishes it, or not.
    "AIRFLOW__API__HOST": "0.0.0.0",  # noqa: S104
    "AIRFLOW__API__PORT": "8080",
}
"""What the deployment gives, as far as every container is told the same."""


def as_cfg() -> str:
    """The file."""
    sections: dict[str, list[str]] = {}
    for variable, value in sorted((environ("fleet", {}, with_secrets=False) | IMAGE).items()):
        _, section, key = variable.lower().split("__", 2)
        sections.setdefault(section, []).append(f"{key} = {value}")
    head = "# The fleet's column of docs/settings.md; the environment goes before it."
    return "\n\n".join([head, *("\n".join([f"[{name}]", *lines]) for name, lines in sections.items())])


if __name__ == "__main__":
    print(as_cfg())
