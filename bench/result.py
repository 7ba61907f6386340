"""What a case hands in."""


class Result:
    """Everything that has been measured in one case, and what it was measured on."""

    def __init__(self, name, title):
        self.name = name
        self.title = title
        self.candidates = []
        self.series = []
        self.checks = []
        self.figures = []
        self.notes = []

    def add_candidate(self, server, dbname, login, statement, tables, name=None, **more):
        """What somebody needs to see who doubts the comparison. The plan is made as the login, by the server that is measured."""
        policies = server.rows(
            dbname,
            "SELECT tablename || ': ' || qual FROM pg_policies WHERE tablename = ANY (%s) AND roles && ARRAY[%s::name, 'public'] ORDER BY 1",
            [tables, login],
        )
        indexes = server.rows(
            dbname, "SELECT indexdef FROM pg_indexes WHERE tablename = ANY (%s) AND schemaname <> 'jit_private' ORDER BY 1", [tables]
        )
        plan = server.rows(dbname, f"EXPLAIN {statement}", user=login)
        self.candidates.append(
            {"name": name or login, "login": login, "statement": statement, "policies": [row[0] for row in policies],
             "indexes": [row[0] for row in indexes], "explain": [row[0] for row in plan]} | more
        )

    def add_series(self, samples, unit):
        self.series.append({"unit": unit, "samples": samples})
        return samples

    def add_figure(self, what, value, unit):
        self.figures.append({"what": what, "value": value, "unit": unit})

    def note(self, text):
        self.notes.append(text)

    def record(self):
        return {
            "name": self.name, "title": self.title, "candidates": self.candidates, "series": self.series,
            "checks": [check.record() for check in self.checks], "figures": self.figures, "notes": self.notes,
        }
