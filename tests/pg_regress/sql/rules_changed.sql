-- A pending request is judged by the stricter of the rules when it was made and today's; live grants keep their window.
\pset tuples_only on
\pset format unaligned
-- What is on record, readable by all here: every refusal can show that nothing changed.
CREATE VIEW record AS SELECT format('requests: %s; %s reviews, %s grants, %s endings, %s events',
    (SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM jit.requests), (SELECT count(*) FROM jit.reviews),
    (SELECT count(*) FROM jit.grants), (SELECT count(*) FROM jit.endings), (SELECT count(*) FROM jit.events));
GRANT SELECT ON record TO PUBLIC;
SELECT jit.create_scope('support', '{"key_type": "int", "approvers": {"support_lead": 2}, "max_duration": "8 hours", "allow_all_rows": true}');
SELECT jit.create_scope('lone', '{"key_type": "int", "approvers": {"support_lead": 1}}');

-- Laxer rules do not help what is pending: two people were asked for, and two it stays.
\c - alice
SELECT jit_request('support', 'refund', key => '1') AS id \gset
\c - postgres
SELECT jit.alter_scope('support', '{"approvers": {"support_lead": 1}}');
\c - bob
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('support', 1);
\c - dave
SELECT jit_approve(:id);
-- What is asked for now needs one.
\c - alice
SELECT jit_request('support', 'refund', key => '2') AS id \gset
\c - bob
SELECT jit_approve(:id);

-- Stricter rules do count: another role, more people.
\c - alice
SELECT jit_request('support', 'refund', key => '3') AS id \gset
\c - postgres
SELECT jit.alter_scope('support', '{"approvers": {"support_lead": 1, "security": 1}}');
\c - bob
SELECT jit_approve(:id);
\c - postgres
SELECT jit.alter_scope('support', '{"approvers": {"support_lead": 2, "security": 1}}');
\c - erin
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('support', 3);
\c - dave
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('support', 3);

-- Rules tightened after enough people have said yes, but before the last of them did: still not enough.
\c - postgres
SELECT jit.alter_scope('support', '{"approvers": {"support_lead": 2}}');
\c - alice
SELECT jit_request('support', 'refund', key => '4') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - postgres
SELECT jit.alter_scope('support', '{"approvers": {"support_lead": 3}}');
\c - dave
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('support', 4);
SELECT jit_cancel(:id);

-- A role that approves no more: its people say no yes any more, and its slot is one that nobody fills.
\c - postgres
SELECT jit.alter_scope('support', '{"approvers": {"support_lead": 1, "security": 1}}');
\c - alice
SELECT jit_request('support', 'refund', key => '5') AS id \gset
\c - erin
SELECT jit_approve(:id);
\c - postgres
SELECT jit.alter_scope('support', '{"approvers": {"support_lead": 1}}');
\c - erin
SELECT count(*) FROM jit.pending;
TABLE record;
SELECT jit_approve(:id); \echo :SQLSTATE
SELECT jit_deny(:id, 'no'); \echo :SQLSTATE
TABLE record;
\c - bob
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('support', 5);
-- Naming it again makes it an approver again. Then nothing is missing, and who has said yes concludes it.
\c - postgres
SELECT jit.alter_scope('support', '{"approvers": {"support_lead": 1, "security": 1}}');
\c - erin
SELECT jit_approve(:id); \echo :SQLSTATE
\c - alice
SELECT jit_active('support', 5);

-- A role that was dropped is nobody.
\c - postgres
CREATE ROLE rules_gone;
GRANT rules_gone TO bob;
SELECT jit.create_scope('orphan', '{"key_type": "int", "approvers": {"rules_gone": 1}}');
\c - alice
SELECT jit_request('orphan', 'refund', key => '1') AS id \gset
\c - postgres
DROP ROLE rules_gone;
\c - bob
SELECT count(*) FROM jit.pending WHERE id = :id;
SELECT jit_approve(:id); \echo :SQLSTATE
-- Nor is a namesake somebody.
\c - postgres
CREATE ROLE rules_gone;
GRANT rules_gone TO bob;
\c - bob
SELECT jit_approve(:id); \echo :SQLSTATE
-- Named again, the old request still asks for the role that is gone.
\c - postgres
SELECT jit.alter_scope('orphan', '{"approvers": {"rules_gone": 1}}');
\c - bob
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('orphan', 1);
\c - postgres
DROP ROLE rules_gone;

-- No approvers at all: nobody may decide.
\c - alice
SELECT jit_request('lone', 'refund', key => '1') AS id \gset
\c - postgres
SELECT jit.alter_scope('lone', '{"approvers": {}}');
\c - bob
TABLE record;
SELECT jit_approve(:id); \echo :SQLSTATE
TABLE record;
-- Whoever asks is told.
\c - alice
SELECT jit_request('lone', 'refund', key => '2') > :id;
\c - postgres
SELECT jit.alter_scope('lone', '{"approvers": {"support_lead": 1}}');
-- What was asked for when there were none needs today's.
\c - bob
SELECT jit_approve(id) FROM jit.pending WHERE scope = 'lone' ORDER BY id;

-- Requesters: who may not ask any more gets nothing any more.
\c - postgres
SELECT jit.alter_scope('lone', '{"requesters": ["support"]}');
\c - alice
SELECT jit_request('lone', 'refund', key => '3') AS id \gset
\c - carol
SELECT jit_request('lone', 'refund', key => '3') AS carols \gset
\c - postgres
SELECT jit.alter_scope('lone', '{"requesters": ["oncall"]}');
\c - bob
TABLE record;
SELECT jit_approve(:id); \echo :SQLSTATE
TABLE record;
-- Saying no is always possible.
SELECT jit_deny(:id, 'you do not do support any more');
-- Back on the list in time.
\c - postgres
SELECT jit.alter_scope('lone', '{"requesters": ["support"]}');
-- Or it is the membership that has gone.
REVOKE support FROM carol;
\c - bob
SELECT jit_approve(:carols); \echo :SQLSTATE
\c - postgres
GRANT support TO carol;
\c - bob
SELECT jit_approve(:carols);
-- A group that the requester has left, and one that has gone.
\c - postgres
SELECT jit.alter_scope('lone', '{"requesters": null}');
CREATE ROLE rules_team;
GRANT rules_team TO alice;
\c - alice
SELECT jit_request('lone', 'tonight', key => '4', grantee => 'rules_team') AS id \gset
\c - postgres
REVOKE rules_team FROM alice;
\c - bob
TABLE record;
SELECT jit_approve(:id); \echo :SQLSTATE
\c - postgres
DROP ROLE rules_team;
\c - bob
SELECT jit_approve(:id); \echo :SQLSTATE
TABLE record;

-- All rows, withdrawn while it waited.
\c - alice
SELECT jit_request('support', 'everything', all_rows => true) AS id \gset
\c - postgres
SELECT jit.alter_scope('support', '{"approvers": {"support_lead": 1}, "allow_all_rows": false}');
\c - alice
SELECT jit_request('support', 'refund', key => '6') AS single \gset
\c - bob
TABLE record;
SELECT jit_approve(:id); \echo :SQLSTATE
TABLE record;
SELECT jit_approve(:single);
-- Live grants of all rows keep their window.
\c - postgres
SELECT jit.alter_scope('support', '{"allow_all_rows": true, "approvers": {"support_lead": 1, "security": 1}}');
\c - erin
SELECT jit_approve(:id);
\c - bob
SELECT jit_approve(:id);
\c - postgres
SELECT jit.alter_scope('support', '{"allow_all_rows": false}');
\c - alice
SELECT jit_active('support', 4711);

-- A lower maximum shortens what is granted from now on, the default included; a higher one lengthens nothing.
\c - postgres
SELECT jit.alter_scope('support', '{"approvers": {"support_lead": 1}}');
\c - alice
SELECT jit_request('support', 'refund', key => '11', duration => '8 hours') AS long \gset
SELECT jit_request('support', 'refund', key => '12') AS normal \gset
\c - postgres
SELECT jit.alter_scope('support', '{"default_duration": "10 minutes", "max_duration": "15 minutes"}');
\c - bob
SELECT jit_approve(:long);
SELECT jit_approve(:normal);
\c - postgres
SELECT key, ends_at - starts_at FROM jit.grants WHERE id IN (:long, :normal) ORDER BY id;
\c - alice
SELECT jit_request('support', 'refund', key => '13', duration => '15 minutes') AS short \gset
\c - postgres
SELECT jit.alter_scope('support', '{"max_duration": "8 hours"}');
\c - bob
SELECT jit_approve(:short, duration => '1 hour'); \echo :SQLSTATE
SELECT jit_approve(:short);
\c - postgres
SELECT key, ends_at - starts_at FROM jit.grants WHERE id = :short;
-- The grants made before keep their ends.
SELECT jit.alter_scope('support', '{"default_duration": "1 minute", "max_duration": "1 minute"}');
SELECT key, ends_at - starts_at FROM jit.grants WHERE id IN (:long, :normal, :short) ORDER BY id;
\c - alice
SELECT jit_active('support', 11), jit_active('support', 12), jit_active('support', 13);

-- Another pattern, another time to lapse: what was asked for stays as it was.
\c - postgres
SELECT jit.alter_scope('lone', '{"reason_pattern": null, "pending_ttl": "1 hour"}');
\c - alice
SELECT jit_request('lone', 'refund', key => '20') AS id \gset
\c - postgres
SELECT jit.alter_scope('lone', '{"reason_pattern": "^OPS-[0-9]+", "pending_ttl": "2 hours"}');
SELECT lapses_at - created_at FROM jit.requests WHERE id = :id;
\c - bob
SELECT jit_approve(:id);

-- An old snapshot does not keep a lost role.
\setenv PGDATABASE :DBNAME
\setenv PGUSER postgres
\c - alice
SELECT jit_request('lone', 'OPS-1', key => '21') AS id \gset
\c - bob
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM jit.pending WHERE id = :id;
\! psql -X -q -c 'REVOKE support_lead FROM bob'
SELECT count(*) FROM jit.pending WHERE id = :id;
SELECT jit_approve(:id); \echo :SQLSTATE
ROLLBACK;
\c - postgres
GRANT support_lead TO bob;
-- Nor old rules.
\c - bob
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM jit.pending WHERE id = :id;
\! psql -X -q -c "SELECT FROM jit.alter_scope('lone', '{\"approvers\": {\"support_lead\": 1, \"security\": 1}}')" >/dev/null
SELECT jit_approve(:id);
COMMIT;
\c - alice
SELECT jit_active('lone', 21);
