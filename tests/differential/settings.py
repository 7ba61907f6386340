"""What a planner is told: every combination of scans, plan cache mode and parallelism, the rest at random."""

import itertools

SCANS = ["enable_seqscan", "enable_indexscan", "enable_bitmapscan"]
PLAN_CACHE = ["auto", "force_generic_plan", "force_custom_plan"]
# Left on most of the time.
OTHERS = {
    "enable_indexonlyscan": 0.3,
    "enable_hashjoin": 0.35,
    "enable_nestloop": 0.35,
    "enable_mergejoin": 0.35,
    "enable_sort": 0.3,
    "enable_incremental_sort": 0.2,
    "enable_hashagg": 0.3,
    "enable_material": 0.2,
    "enable_memoize": 0.2,
    "enable_tidscan": 0.2,
    "enable_gathermerge": 0.2,
    "enable_parallel_append": 0.2,
    "enable_parallel_hash": 0.2,
    "enable_partition_pruning": 0.2,
}
# Off unless asked for.
MORE = {"enable_partitionwise_join": 0.3, "enable_partitionwise_aggregate": 0.3}
PARALLEL = {
    # Not 0: a nested loop would start workers anew for each row of its outer side.
    "parallel_setup_cost": "0.5",
    "parallel_tuple_cost": "0",
    "min_parallel_table_scan_size": "0",
    "min_parallel_index_scan_size": "0",
    "max_parallel_workers_per_gather": "2",
}
SERIAL = {"max_parallel_workers_per_gather": "0"}
# Where the test's server (runner.SERVER) says something else than "on".
DEFAULTS = SERIAL | {name: "off" for name in [*MORE, "jit", "force_parallel_mode", "debug_parallel_query"]} | {"plan_cache_mode": "auto"}


def combinations():
    """One of each: 2 × 2 × 2 × 3 × 2."""
    for scans in itertools.product(["on", "off"], repeat=len(SCANS)):
        for plan_cache, parallel in itertools.product(PLAN_CACHE, [False, True]):
            yield dict(zip(SCANS, scans)) | {"plan_cache_mode": plan_cache}, parallel


COUNT = len(list(combinations()))


def fill(rng, chosen, parallel, version):
    """The combination with everything else chosen at random."""
    settings = dict(chosen)
    if parallel:
        settings |= PARALLEL
        # A Gather on top of whatever allows it; without, workers share the scans.
        name = "debug_parallel_query" if version >= 160000 else "force_parallel_mode"
        settings[name] = "on" if rng.random() < 0.4 else "off"
        settings["parallel_leader_participation"] = "off" if rng.random() < 0.3 else "on"
    else:
        settings |= SERIAL
    settings |= {name: "off" for name, chance in OTHERS.items() if rng.random() < chance}
    settings |= {name: "on" for name, chance in MORE.items() if rng.random() < chance}
    # Indexes that cost nothing: our tables are small.
    settings["random_page_cost"] = rng.choice(["0.05", "0.5", "4"])
    if rng.random() < 0.0005:
        # Compiled expressions: half a second each, so seldom.
        settings |= {"jit": "on", "jit_above_cost": "0", "jit_inline_above_cost": "0", "jit_optimize_above_cost": "0"}
    return settings


def any_of_them(rng, version):
    """For plans that are cached already: most settings come too late for them."""
    chosen, parallel = rng.choice(list(combinations()))
    return fill(rng, chosen | {"plan_cache_mode": rng.choice(PLAN_CACHE[:2])}, parallel, version)


def sql(settings):
    """Only what differs from the server's settings: there are many cases."""
    return "; ".join(f"SET LOCAL {name} = {value}" for name, value in settings.items() if DEFAULTS.get(name, "on") != value)
