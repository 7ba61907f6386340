-- Runs in each test's own database, before the test.
CREATE EXTENSION jit_rls;
