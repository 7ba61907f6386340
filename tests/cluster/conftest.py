"""What the tests get: servers for what needs more than one server, a crash, a restart or real clients.

    from harness import wait_until

    def test_something(cluster, db):        # the module's server, preloaded, and a database with the extension
        alice = cluster.connect("alice", db)

    def test_crash(new_cluster):            # a server of the test's own
        c = new_cluster(); c.start(preload=False); c.kill9(); c.start()
"""

import itertools
import os
import pathlib
import re
import shutil
import tempfile

import pytest

from harness import Cluster

CRASH = re.compile(r"terminated by signal (?!9:)|PANIC:|TRAP:")


@pytest.fixture(scope="session")
def base_directory():
    """Where clusters go: as tests/run.sh says, else a directory of our own under /tmp."""
    given = os.environ.get("JIT_TEST_BASE")
    base = pathlib.Path(given) if given else pathlib.Path(tempfile.mkdtemp(prefix="jit_rls."))
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    base.chmod(0o755)
    yield base
    if not given:
        shutil.rmtree(base)


@pytest.fixture(scope="session")
def numbers():
    return itertools.count(1)


def _factory(base, numbers):
    clusters = []

    def new_directory():
        # Short: a socket's path has to fit into 107 bytes.
        return base / str(next(numbers))

    def make(init=True):
        cluster = Cluster(new_directory())
        clusters.append(cluster)
        return cluster.init() if init else cluster

    def standby(primary, **start):
        clusters.append(primary.standby(new_directory(), **start))
        return clusters[-1]

    def clean_up():
        for cluster in reversed(clusters):
            cluster.stop("immediate")
        # A server that has recovered by itself looks as good as new. Signal 9 is the tests' own.
        for cluster in clusters:
            crashes = [line for line in cluster.log().splitlines() if CRASH.search(line)]
            assert not crashes, f"{cluster.logfile}: {crashes}"

    make.standby = standby
    make.new_directory = new_directory
    make.clean_up = clean_up
    return make


@pytest.fixture
def new_cluster(base_directory, numbers):
    """new_cluster() is an initialised server, not started; new_cluster.standby(primary) a running standby of one."""
    factory = _factory(base_directory, numbers)
    yield factory
    factory.clean_up()


@pytest.fixture(scope="module")
def new_module_cluster(base_directory, numbers):
    """The same for servers that several tests of a module share."""
    factory = _factory(base_directory, numbers)
    yield factory
    factory.clean_up()


@pytest.fixture(scope="module")
def cluster(new_module_cluster):
    """The module's server: preloaded, started, with the roles of tests/pg_regress/roles.sql."""
    return new_module_cluster().start(settings={"fsync": "off"}).create_roles()


@pytest.fixture
def db(cluster):
    """A database of the test's own on the module's server, with the extension."""
    return cluster.new_database()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """A skipped test is a promise that nobody checked: the run is red."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter and reporter.stats.get("skipped")
    if skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
