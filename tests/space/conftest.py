import pytest

from galaxy_exp.hypermodel import GalaxyCNN


@pytest.fixture(scope="session")
def hypermodel():
    return GalaxyCNN((16, 16, 3), 4)
