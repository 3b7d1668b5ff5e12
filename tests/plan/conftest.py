import pytest

from bench.errors import PlanError
from bench.plan.catalog import load_catalog
from bench.plan.load import read_plan


@pytest.fixture
def catalog():
    return load_catalog()


@pytest.fixture
def read(catalog):
    """Read a plan's text."""
    return lambda text: read_plan(text, "my.yaml", catalog)


@pytest.fixture
def problems(read):
    """Return what is wrong with a plan's text."""

    def find(text):
        with pytest.raises(PlanError) as caught:
            read(text)
        assert str(caught.value).startswith("my.yaml: ")
        return caught.value.problems

    return find
