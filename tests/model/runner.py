"""Many histories, in as many processes as there is something to run them on."""

import collections
import multiprocessing
import os
import time
import traceback

SEED = 1
HISTORIES = 2_200
LENGTH = 50
PROCESSES = 2
# How many histories have a restart of the server in them, in each process; and every how many-th one uses real logins.
RESTARTS, REAL = 3, 12


def run_histories(directory, seed, numbers, restarts, answer):
    """In a process of its own, on a server of its own: roles are the server's."""
    from database import Database
    from history import Disagreement, History, shrink

    counts = collections.Counter()
    failures = []
    database = Database(directory)
    try:
        every = max(1, len(numbers) // (restarts + 1))
        for done, number in enumerate(numbers, 1):
            own, real = f"{seed}/{number}", number % REAL == 0
            history = History(database, counts, real)
            try:
                history.generate(own, LENGTH, restarts and done % every == 0 and done // every <= restarts)
                counts["histories"] += 1
                database.reset(history.model.roles)
            except Disagreement as found:
                database.reset(history.model.roles)
                failures.append(report(own, history, found, shrink(database, found.recorded, real)))
                # One of each process is enough, and shrinking takes time.
                break
            if done % 50 == 0:
                database.tidy()
    except Exception:
        failures.append(traceback.format_exc())
    finally:
        database.close()
    answer.put((counts, failures))


def report(seed, history, found, shrunk):
    lines = [f"DISAGREEMENT in history {seed}"]
    if shrunk:
        history, found = shrunk
    else:
        lines.append("It did not come again when the same was done once more; all of it:")
    return "\n".join([*lines, *history.lines, str(found), ""])


def run(new_directory, seed=SEED, histories=HISTORIES, only=None):
    """All of them: counts, failures, seconds."""
    began = time.monotonic()
    numbers = list(range(histories)) if only is None else [only]
    processes = min(PROCESSES, os.cpu_count() or 1, len(numbers))
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    running = []
    for part in range(processes):
        mine = numbers[part::processes]
        arguments = (new_directory(), seed, mine, RESTARTS if len(mine) > 100 else 0, answer)
        running.append(context.Process(target=run_histories, args=arguments))
        running[-1].start()
    counts, failures = collections.Counter(), []
    for _ in running:
        some, failed = answer.get()
        counts += some
        failures += failed
    for process in running:
        process.join()
    return counts, failures, time.monotonic() - began
