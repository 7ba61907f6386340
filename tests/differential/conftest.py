"""The servers are those of tests/cluster, with the fixtures of its conftest.py.

    pytest tests/differential --seed 7 --cases 100000      other random worlds, and more
    pytest tests/differential --relaxed                    answers must be right, index conditions are not asked for
"""

import importlib.util
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
CLUSTER = HERE.parent / "cluster"
sys.path[:0] = [str(HERE), str(CLUSTER)]

# By path: both files are called conftest.
_spec = importlib.util.spec_from_file_location("cluster_conftest", CLUSTER / "conftest.py")
_conftest = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_conftest)
base_directory = _conftest.base_directory
numbers = _conftest.numbers
new_module_cluster = _conftest.new_module_cluster
cluster = _conftest.cluster
db = _conftest.db
pytest_sessionfinish = _conftest.pytest_sessionfinish


def pytest_addoption(parser):
    parser.addoption("--seed", help="of the random worlds")
    parser.addoption("--cases", type=int, help="how many of them at least")
    parser.addoption("--relaxed", action="store_true", help="do not ask that index conditions are used")


@pytest.fixture(scope="session")
def relaxed(request):
    return request.config.getoption("--relaxed")
