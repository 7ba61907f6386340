"""One case a file, each with a TITLE and run(bench, result)."""

CASES = [
    "row_check", "index", "whole_scope", "whole_scope_denied", "point_lookup", "churn", "memory", "first_check", "request_approve",
    "ending_latency", "innocents", "after_revoke", "mass_expiry", "idle_workers", "slot_cost",
]
