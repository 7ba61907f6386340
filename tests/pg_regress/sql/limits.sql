-- How much one may ask for and hold: against flooding, not against work.

SELECT jit.create_scope('s', '{"key_type": "int", "max_pending": 2, "max_grants": 2, "denial_pause": "1 day", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('other', '{"key_type": "int", "approvers": {"support_lead": 1}}');
GRANT oncall TO alice;

-- Pending requests of one person in one scope.
\c - alice
SELECT jit_request('s', 'refund', key => '1') AS a, jit_request('s', 'refund', key => '2') AS b \gset
SELECT jit_request('s', 'refund', key => '3'); \echo :SQLSTATE
-- For a group, and by another name, it is the same person.
SELECT jit_request('s', 'refund', key => '3', grantee => 'oncall'); \echo :SQLSTATE
SELECT jit_request('s', 'refund', key => '3', grantee => 'support'); \echo :SQLSTATE
-- Another scope, another person: not counted.
SELECT jit_request('other', 'refund', key => '3') > 0 AS asked;
\c - carol
SELECT jit_request('s', 'refund', key => '3') AS c \gset
\c - alice
SELECT jit_cancel(:a);
SELECT jit_request('s', 'refund', key => '1') AS a \gset

-- A pause after a no: for the same, in whosever name; nothing else.
\c - bob
SELECT jit_deny(:b, 'no ticket');
\c - alice
\set VERBOSITY terse
SELECT jit_request('s', 'refund', key => '2'); \echo :SQLSTATE
SELECT jit_request('s', 'refund', key => '2', grantee => 'oncall'); \echo :SQLSTATE
\set VERBOSITY default
SELECT jit_request('s', 'refund', key => '4') AS b \gset
\c - carol
SELECT jit_request('s', 'refund', key => '2') > 0 AS asked;
\c - postgres
SELECT jit.alter_scope('s', '{"denial_pause": "0"}');
\c - alice
SELECT jit_cancel(:a);
SELECT jit_request('s', 'refund', key => '2') AS a \gset

-- Live grants of one grantee in one scope.
\c - bob
SELECT jit_approve(:a), jit_approve(:b);
\c - alice
SELECT jit_request('s', 'refund', key => '5'); \echo :SQLSTATE
-- Those of a group are the group's.
SELECT jit_request('s', 'refund', key => '5', grantee => 'oncall') AS g \gset
SELECT jit_release(:a);
SELECT jit_request('s', 'refund', key => '5') AS d, jit_request('other', 'refund', key => '6') AS e \gset
\c - bob
SELECT jit_approve(:d), jit_approve(:e), jit_approve(:g);
-- What was asked for before counts when it is approved.
\c - postgres
SELECT jit.alter_scope('s', '{"max_grants": 3}');
\c - alice
SELECT jit_request('s', 'refund', key => '7') AS f \gset
\c - postgres
SELECT jit.alter_scope('s', '{"max_grants": 2}');
\c - bob
SELECT jit_approve(:f); \echo :SQLSTATE
\c - alice
SELECT jit_release(:d);
\c - bob
SELECT jit_approve(:f);

-- What has ended in another way does not count either.
\c - postgres
SELECT jit.alter_scope('s', '{"enabled": false}');
SELECT jit.alter_scope('s', '{"enabled": true}');
\c - alice
SELECT jit_request('s', 'refund', key => '8') > 0 AS asked;

-- Bad input.
\c - postgres
SELECT jit.alter_scope('s', '{"max_pending": 0}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"max_grants": 1000001}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"max_grants": "many"}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"denial_pause": "-1 day"}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"max_ahead": "1 month"}'); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"max_pending": null, "max_grants": null, "denial_pause": null}');
SELECT max_pending, max_grants, denial_pause FROM jit.scopes WHERE name = 's';
REVOKE oncall FROM alice;
