"""What a case gets: sizes, and servers that are made when they are first asked for."""

import functools
import pathlib

from bench.server import Server
from bench.world import World

STILL_ROWS = 20_000


class Bench:
    def __init__(self, base, size):
        self.base = pathlib.Path(base)
        self.size = size

    @functools.cached_property
    def world(self):
        """The server of the cases that read, with all its people and grants."""
        return World(self.base / "server.read", self.size.rows)

    @functools.cached_property
    def still_server(self):
        """The same people and grants and 20,000 rows, in a server that does not run: for what counts instructions."""
        world = World(self.base / "server.still", STILL_ROWS)
        assert world.orders and world.orders_indexed
        world.server.settle()
        world.server.stop()
        return world.server

    def server(self, name, **settings):
        """An empty server, for a case of its own."""
        return Server(self.base / f"server.{name}", **settings)
