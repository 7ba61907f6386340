"""One session: statements go to libpq as they are, rows come back as text, plans as notices of auto_explain's."""

import collections
import dataclasses
import functools

from psycopg import pq

from model import literal
from settings import SERIAL, sql

BAD = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE)


@dataclasses.dataclass
class Answer:
    rows: list
    # As in "UPDATE 3".
    tag: str = ""
    sqlstate: str | None = None
    message: str = ""
    # The whole table that was written to, counted and hashed.
    state: str | None = None
    plan: str = ""

    @functools.cached_property
    def bag(self):
        return collections.Counter(self.rows)

    def same(self, other, ordered):
        mine, others = (self.rows, other.rows) if ordered else (self.bag, other.bag)
        return (mine, self.tag, self.sqlstate, self.state) == (others, other.tag, other.sqlstate, other.state)


class Session:
    def __init__(self, connection):
        self.connection, self.pgconn = connection, connection.pgconn
        self.plans = []
        self.prepared = set()
        connection.add_notice_handler(self.notice)

    def notice(self, diagnostic):
        if "plan:" in (diagnostic.message_primary or ""):
            self.plans.append(diagnostic.message_primary)

    def send(self, text):
        return self.check(self.pgconn.exec_(text.encode()), text)

    def check(self, result, text):
        if result.status in BAD:
            raise AssertionError(f"{text}\n{result.error_message.decode()}")
        return result

    def prepare(self, name, query, way):
        """`way`: by SQL or by the protocol."""
        if name in self.prepared:
            return
        if way == "sql":
            types = ", ".join(t for _, t in query.params)
            self.send(f"PREPARE {name}{f' ({types})' if types else ''} AS {query.text}")
        else:
            self.check(self.pgconn.prepare(name.encode(), query.text.encode(), query.oids()), query.text)
        self.prepared.add(name)

    def run(self, query, way, name="", role=None, settings=SERIAL, search_path="public", schema="public", discard=False, text=None):
        """Runs the query, or another text in its place, in a transaction of its own that is rolled back."""
        if way in ("sql", "bind"):
            self.prepare(name, query, way)
        begin = ["BEGIN", f"SET LOCAL search_path = {search_path}", sql(settings)]
        if role:
            begin.append(f"SET LOCAL ROLE {role}")
        if discard:
            begin.append("DISCARD PLANS")
        self.send("; ".join(begin))
        self.plans.clear()
        answer = self.answer(query, way, name, text or query.inlined())
        answer.plan = "\n".join(self.plans)
        if query.target and answer.sqlstate is None:
            answer.state = self.send(f"SELECT public.state('{schema}', '{query.target}')").get_value(0, 0).decode()
        self.send("ROLLBACK")
        return answer

    def answer(self, query, way, name, text):
        if way == "bind":
            values = [None if value is None else value.encode() for value, _ in query.params]
            found = answer(self.pgconn.exec_prepared(name.encode(), values))
            if found.sqlstate is None:
                # The plan is told when the portal is closed, but not when it is rolled back.
                self.check(self.pgconn.close_portal(b""), query.text)
            return found
        if way == "cursor":
            return self.fetch_all(text)
        if way == "sql":
            values = ", ".join(f"{literal(value)}::{kind}" for value, kind in query.params)
            text = f"EXECUTE {name}{f' ({values})' if values else ''}"
        return answer(self.pgconn.exec_(text.encode()))

    def fetch_all(self, text):
        """Some rows, then the others."""
        first = answer(self.pgconn.exec_(f"DECLARE c NO SCROLL CURSOR FOR {text}".encode()))
        if first.sqlstate:
            return first
        rows = []
        for how in ("3", "1", "ALL"):
            some = answer(self.pgconn.exec_(f"FETCH {how} FROM c".encode()))
            if some.sqlstate:
                return some
            rows += some.rows
        # The plan is told when it ends.
        self.send("CLOSE c")
        return Answer(rows, f"SELECT {len(rows)}")


def answer(result):
    if result.status in BAD:
        code = result.error_field(pq.DiagnosticField.SQLSTATE)
        return Answer([], "", code.decode() if code else "none", result.error_message.decode())
    columns = range(result.nfields)
    rows = [tuple([result.get_value(row, column) for column in columns]) for row in range(result.ntuples)]
    return Answer(rows, result.command_status.decode())
