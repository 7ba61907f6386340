"""What the check costs, against policies written by hand. `make bench` runs all of it; bench/run.sh says how to run parts."""
