"""The servers are those of tests/cluster, with the fixtures of its conftest.py.

    pytest tests/model --seed 7 --histories 10000      other random histories, and more
    pytest tests/model --seed 7 --history 123          one of them, as a disagreement says ("history 7/123")
"""

import importlib.util
import pathlib
import sys

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
pytest_sessionfinish = _conftest.pytest_sessionfinish


def pytest_addoption(parser):
    parser.addoption("--seed", help="of the random histories")
    parser.addoption("--histories", type=int, help="how many of them")
    parser.addoption("--history", type=int, help="only this one, and what is rare may be missing")
    parser.addoption("--rounds", type=int, help="how many rounds of sessions at once")
    parser.addoption("--relaxed", action="store_true", help="do not ask that everything comes up a hundred times")
