-- Several people: who fills which slot, when a yes stops counting, whose duration it is.
\pset tuples_only on
\pset format unaligned
-- What is on record, readable by all here: every refusal can show that nothing changed.
CREATE VIEW record AS SELECT format('requests: %s; %s reviews, %s grants, %s endings, %s events',
    (SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM jit.requests), (SELECT count(*) FROM jit.reviews),
    (SELECT count(*) FROM jit.grants), (SELECT count(*) FROM jit.endings), (SELECT count(*) FROM jit.events));
GRANT SELECT ON record TO PUBLIC;
SELECT jit.create_scope('two', '{"key_type": "int", "approvers": {"support_lead": 2}}');
SELECT jit.create_scope('both', '{"key_type": "int", "approvers": {"support_lead": 1, "security": 1}}');
SELECT jit.create_scope('three', '{"key_type": "int", "approvers": {"support_lead": 2, "security": 1}}');

-- Two people of one role.
\c - alice
SELECT jit_request('two', 'refund', key => '1');
\c - bob
SELECT id, approvals FROM jit.pending;
SELECT jit_approve(1, 'fine with me');
-- One's own yes takes it off one's list, and does not count twice: plain, after SET ROLE.
SELECT count(*) FROM jit.pending;
TABLE record;
SELECT jit_approve(1); \echo :SQLSTATE
SET ROLE support_lead;
SELECT jit_approve(1); \echo :SQLSTATE
TABLE record;
\c - alice
SELECT jit_active('two', 1);
\c - dave
SELECT id, approvals FROM jit.pending;
SELECT jit_approve(1);
\c - alice
SELECT jit_active('two', 1);
\c - postgres
SELECT request_id, decision, login, actor, roles, comment FROM jit.reviews ORDER BY id;
SELECT kind, login, details - 'starts_at' - 'ends_at' FROM jit.events WHERE request_id = 1 ORDER BY id;

-- Two logins that act as the same role are one person, and so are a role and the login that has become it.
CREATE ROLE quorum_alter LOGIN IN ROLE support_lead;
GRANT quorum_alter TO bob;
GRANT quorum_alter TO dave;
\c - alice
SELECT jit_request('two', 'refund', key => '2') AS id \gset
\c - bob
SET ROLE quorum_alter;
SELECT jit_approve(:id);
\c - quorum_alter
SELECT jit_approve(:id); \echo :SQLSTATE
\c - dave
SET ROLE quorum_alter;
SELECT jit_approve(:id); \echo :SQLSTATE
RESET ROLE;
SELECT jit_approve(:id);
-- The second of the two yeses was by dave himself, who shares no role with {bob, quorum_alter}.
\c - postgres
SELECT login, actor FROM jit.reviews WHERE request_id = :id ORDER BY id;

-- One person in two approver roles fills one slot.
GRANT security TO bob;
\c - alice
SELECT jit_request('both', 'refund', key => '1') AS id \gset
\c - bob
SELECT jit_approve(:id);
SELECT jit_approve(:id); \echo :SQLSTATE
SET ROLE security;
SELECT jit_approve(:id); \echo :SQLSTATE
TABLE record;
\c - alice
SELECT jit_active('both', 1);
-- Slots are not given away greedily: bob fits both, so that it does not matter which of them the second person fits.
\c - dave
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('both', 1);
SELECT jit_request('both', 'refund', key => '2') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - erin
SELECT jit_approve(:id);
-- In three slots the two who fit both roles cannot stand in for a third person.
\c - postgres
GRANT security TO dave;
\c - alice
SELECT jit_request('three', 'refund', key => '1') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - dave
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('three', 1);
\c - erin
SELECT jit_approve(:id);
-- People of a role that is full already do not count towards the other.
\c - postgres
REVOKE security FROM bob, dave;
\c - alice
SELECT jit_request('both', 'refund', key => '3') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - dave
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('both', 3);
\c - erin
SELECT jit_approve(:id);
-- None of those who said yes is ever served by it, needed or not.
\c - postgres
SELECT approved_by = ARRAY (SELECT oid FROM pg_roles WHERE rolname IN ('bob', 'dave', 'erin') ORDER BY oid) FROM jit.grants WHERE id = :id;

-- A yes stops counting when its giver has lost the role before the quorum is reached.
\c - alice
SELECT jit_request('two', 'refund', key => '3') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - postgres
REVOKE support_lead FROM bob;
REVOKE quorum_alter FROM bob, dave;
\c - dave
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('two', 3);
\c - bob
SELECT jit_approve(:id); \echo :SQLSTATE
\c - quorum_alter
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('two', 3);
-- It counts again when they are back in time; they need not and cannot say it again.
\c - postgres
GRANT support_lead TO bob;
\c - alice
SELECT jit_request('two', 'refund', key => '4') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - postgres
REVOKE support_lead FROM bob;
GRANT support_lead TO bob;
\c - bob
SELECT jit_approve(:id); \echo :SQLSTATE
\c - dave
SELECT jit_approve(:id);
-- A giver who has come to belong to the grantee does not count either.
\c - postgres
GRANT oncall TO carol;
\c - carol
SELECT jit_request('two', 'tonight', key => '5', grantee => 'oncall') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - postgres
GRANT oncall TO bob;
\c - dave
SELECT jit_approve(:id);
\c - carol
SELECT jit_active('two', 5);
\c - quorum_alter
SELECT jit_approve(:id);
\c - carol
SELECT jit_active('two', 5);
\c - bob
SELECT jit_active('two', 5);
\c - postgres
REVOKE oncall FROM bob, carol;
-- A dropped giver is nobody.
\c - alice
SELECT jit_request('two', 'refund', key => '6') AS id \gset
\c - quorum_alter
SELECT jit_approve(:id);
\c - postgres
DROP ROLE quorum_alter;
\c - bob
SELECT jit_approve(:id);
\c - dave
SELECT jit_approve(:id);

-- One no ends it, however many have said yes.
\c - alice
SELECT jit_request('three', 'refund', key => '2') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - dave
SELECT jit_approve(:id);
\c - erin
SELECT jit_deny(:id, 'not this one');
\set VERBOSITY terse
SELECT jit_approve(:id); \echo :SQLSTATE
\set VERBOSITY default
-- One who said yes may change their mind, as long as it is pending.
\c - alice
SELECT jit_request('two', 'refund', key => '7') AS id \gset
\c - bob
SELECT jit_approve(:id);
SELECT jit_deny(:id, 'on second thoughts');
\c - alice
SELECT state, decided_by FROM jit.my_requests WHERE id = :id;

-- Durations: an approver can shorten, the shortest counts, nobody can lengthen.
SELECT jit_request('two', 'refund', key => '8', duration => '2 hours') AS id \gset
\c - bob
TABLE record;
SELECT jit_approve(:id, duration => '2 hours 1 second'); \echo :SQLSTATE
SELECT jit_approve(:id, duration => '0'); \echo :SQLSTATE
SELECT jit_approve(:id, duration => '-1 hour'); \echo :SQLSTATE
SELECT jit_approve(:id, duration => '1 month'); \echo :SQLSTATE
TABLE record;
SELECT jit_approve(:id, duration => '30 minutes');
\c - dave
SELECT jit_approve(:id, 'an hour will do', '1 hour');
\c - postgres
SELECT r.duration AS asked, g.ends_at - g.starts_at AS granted FROM jit.grants g JOIN jit.requests r USING (id) WHERE g.id = :id;
SELECT kind, login, details - 'starts_at' - 'ends_at' FROM jit.events WHERE request_id = :id AND kind <> 'requested' ORDER BY id;
-- The same length is no lengthening, and without a duration it is what was asked for.
\c - alice
SELECT jit_request('two', 'refund', key => '9', duration => '2 hours') AS id \gset
\c - bob
SELECT jit_approve(:id, duration => '2 hours');
\c - dave
SELECT jit_approve(:id);
\c - postgres
SELECT ends_at - starts_at FROM jit.grants WHERE id = :id;
-- The window starts at the approval, not at the request; or at its starts_at, when that lies ahead.
SELECT g.starts_at > r.created_at, g.starts_at >= (SELECT max(v.at) FROM jit.reviews v WHERE v.request_id = g.id)
  FROM jit.grants g JOIN jit.requests r USING (id) WHERE g.id = :id;
\c - alice
SELECT jit_request('both', 'refund', key => '9', starts_at => clock_timestamp() + interval '1 hour') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - erin
SELECT jit_approve(:id, duration => '10 minutes');
\c - alice
SELECT jit_active('both', 9), jit_keys('both', NULL::int);
SELECT state FROM jit.my_grants WHERE id = :id;
\c - postgres
SELECT g.starts_at = r.starts_at, g.ends_at - g.starts_at FROM jit.grants g JOIN jit.requests r USING (id) WHERE g.id = :id;

-- Comments: blank, too long, with control characters.
\c - alice
SELECT jit_request('two', 'refund', key => '10') AS id \gset
\c - bob
TABLE record;
SELECT jit_approve(:id, ''); \echo :SQLSTATE
SELECT jit_approve(:id, repeat('x', 4097)); \echo :SQLSTATE
SELECT jit_approve(:id, E'fine\nreally'); \echo :SQLSTATE
SELECT jit_deny(:id, NULL); \echo :SQLSTATE
SELECT jit_deny(:id, ' '); \echo :SQLSTATE
SELECT jit_deny(:id, E'no\nreally'); \echo :SQLSTATE
TABLE record;
SELECT jit_approve(:id, NULL, NULL);

-- What is reached only through another person's login is that person's alone, else one entitlement would be two people's.
\c - postgres
CREATE ROLE quorum_mallory LOGIN IN ROLE bob;
CREATE ROLE quorum_team NOLOGIN IN ROLE bob;
CREATE ROLE quorum_member LOGIN IN ROLE quorum_team;
CREATE ROLE quorum_sleeper LOGIN NOINHERIT IN ROLE bob;
CREATE ROLE quorum_direct LOGIN IN ROLE bob, support_lead;
CREATE ROLE quorum_leads NOLOGIN IN ROLE support_lead;
CREATE ROLE quorum_grouped LOGIN IN ROLE bob, quorum_leads;
SELECT m.rolname, pg_has_role(m.oid, 'support_lead', 'MEMBER') AS member FROM pg_roles m WHERE m.rolname LIKE 'quorum%' ORDER BY 1;
\c - alice
SELECT jit_request('two', 'refund', key => '11') AS id \gset
\c - postgres
TABLE record;
\c - quorum_mallory
SELECT count(*) FROM jit.pending;
SELECT jit_approve(:id); \echo :SQLSTATE
\set VERBOSITY terse
SELECT jit_deny(:id, 'no'); \echo :SQLSTATE
SET ROLE bob;
SELECT count(*) FROM jit.pending;
SELECT jit_approve(:id); \echo :SQLSTATE
SELECT jit_deny(:id, 'no'); \echo :SQLSTATE
-- He can even become the role that approves.
SET ROLE support_lead;
SELECT count(*) FROM jit.pending;
SELECT jit_approve(:id); \echo :SQLSTATE
SELECT jit_deny(:id, 'no'); \echo :SQLSTATE
\c - quorum_sleeper
SELECT jit_approve(:id); \echo :SQLSTATE
SET ROLE bob;
SELECT jit_approve(:id); \echo :SQLSTATE
\c - quorum_member
SELECT jit_approve(:id); \echo :SQLSTATE
SET ROLE quorum_team;
SELECT jit_approve(:id); \echo :SQLSTATE
TABLE record;
-- Nor may they ask or end by it.
\c - postgres
SELECT jit.create_scope('leads_only', '{"approvers": {"support_lead": 1}, "requesters": ["support_lead"]}');
\c - quorum_mallory
\set VERBOSITY terse
SELECT jit_request('leads_only', 'test'); \echo :SQLSTATE
SET ROLE bob;
SELECT jit_request('leads_only', 'test'); \echo :SQLSTATE
RESET ROLE;
\c - bob
SELECT max(id) AS live FROM jit.active_grants WHERE scope = 'two' \gset
\c - quorum_mallory
SELECT jit_revoke(:live, 'mine'); \echo :SQLSTATE
SELECT count(*) FROM jit.active_grants;
TABLE record;
-- Who has the role by another way as well is one more person: two yeses.
\c - quorum_direct
SELECT jit_approve(:id);
\c - quorum_grouped
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('two', 11);
-- bob himself is no less an approver for it. As bob, quorum_direct is not another person than bob.
SELECT jit_request('two', 'refund', key => '12') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - quorum_direct
SET ROLE bob;
SELECT jit_approve(:id); \echo :SQLSTATE
RESET ROLE;
SELECT jit_approve(:id);
-- A yes stops counting when its giver has lost the other way.
\c - alice
SELECT jit_request('two', 'refund', key => '13') AS id \gset
\c - quorum_direct
SELECT jit_approve(:id);
\c - postgres
REVOKE support_lead FROM quorum_direct;
SELECT pg_has_role('quorum_direct', 'support_lead', 'MEMBER') AS member;
\c - dave
SELECT jit_approve(:id);
\c - alice
SELECT jit_active('two', 13);
\c - bob
SELECT jit_approve(:id);
\c - postgres
DROP ROLE quorum_mallory, quorum_team, quorum_member, quorum_sleeper, quorum_direct, quorum_leads, quorum_grouped;
