# The work is done by scripts/; this is their list.

# The server to build for and install into; the scripts have a default.
PG_CONFIG ?=
export PG_CONFIG

.PHONY: help demo test test-matrix bench install installcheck mutants deps clean

help:
	@echo "make demo          a million bank accounts, step by step, in a cluster of its own"
	@echo "make test          everything that must hold: style, unit, regress, isolation, cluster tests"
	@echo "make test-matrix   the same on PostgreSQL 17 and 18, in chroots (as root) [MATRIX_VERSIONS=, MATRIX_SUITES=]"
	@echo "make bench         against hand-written policies: a table, target/bench/results.json and a plot [BENCH_ARGS=…]"
	@echo "make install       build and install into a server [PG_CONFIG=/path/to/pg_config]"
	@echo "make installcheck  pg_regress against what is installed, in a throwaway cluster"
	@echo "make mutants       break the code on purpose; the tests must notice"
	@echo "make deps          install what building and testing need (as root)"
	@echo "make clean         stop the throwaway clusters, remove target/"

demo:
	@scripts/demo.sh

test:
	@tests/run.sh

test-matrix:
	@scripts/matrix.sh

bench:
	@bench/run.sh $(BENCH_ARGS)

install:
	@scripts/install.sh

installcheck:
	@tests/run.sh --no-build --only regress

mutants:
	@scripts/mutants.sh

deps:
	@scripts/deps.sh --tests

clean:
	@scripts/clean.sh
