import pytest

from darkroom.orchestration.dag_docs import load_dags
from darkroom.settings import REPOSITORY


@pytest.fixture(scope="session")
def dags():
    return load_dags(REPOSITORY / "dags")
