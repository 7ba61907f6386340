-- The record: one event for each change, in the transaction of the change, and never changed afterwards.
\pset tuples_only on
\pset format unaligned
-- What is on record, readable by all here: every refusal can show that nothing changed.
CREATE VIEW record AS SELECT format('requests: %s; %s reviews, %s grants, %s endings, %s events',
    (SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM jit.requests), (SELECT count(*) FROM jit.reviews),
    (SELECT count(*) FROM jit.grants), (SELECT count(*) FROM jit.endings), (SELECT count(*) FROM jit.events));
GRANT SELECT ON record TO PUBLIC;
CREATE VIEW events AS SELECT id, kind, request_id, scope, login, actor, details - 'starts_at' - 'ends_at' AS details FROM jit.events ORDER BY id;
SELECT jit.create_scope('support', '{"key_type": "int", "approvers": {"support_lead": 2}}');
SELECT jit.alter_scope('support', '{"description": "orders"}');
\c - alice
SELECT jit_request('support', 'refund', key => k::text) FROM generate_series(1, 4) k;
\c - bob
SELECT jit_approve(1, 'fine');
SET ROLE support_lead;
SELECT jit_approve(2, duration => '30 minutes');
RESET ROLE;
SELECT jit_deny(3, 'no');
\c - dave
SELECT jit_approve(1);
SELECT jit_approve(2);
SELECT jit_revoke(1, 'enough');
\c - alice
SELECT jit_cancel(4);
SELECT jit_release(2);
SELECT jit_request('support', 'refund', key => '5');
SELECT jit_request('support', 'refund', key => '6');
\c - bob
SELECT jit_approve(5);
\c - dave
SELECT jit_approve(5);
\c - postgres
SELECT jit.drop_scope('support');
-- Exactly one for each, in order.
TABLE events;
-- Their times: none before its change, none after the next. Endings and grants agree with them.
SELECT bool_and(at >= before) FROM (SELECT at, lag(at) OVER (ORDER BY id) AS before FROM jit.events) q;
SELECT count(*) FROM jit.events e JOIN jit.endings n ON n.grant_id = e.request_id AND n.kind = e.kind WHERE e.at BETWEEN n.at AND n.at + interval '1 minute';
SELECT r.id, r.state, r.created_at <= e.at AS asked_before FROM jit.requests r JOIN jit.events e ON e.request_id = r.id AND e.kind = 'requested' ORDER BY 1;

-- A change that is rolled back leaves none: ROLLBACK, an error, ROLLBACK TO.
SELECT jit.create_scope('support', '{"key_type": "int", "approvers": {"support_lead": 1}}');
\c - alice
SELECT jit_request('support', 'refund', key => '1') AS one \gset
SELECT jit_request('support', 'refund', key => '2') AS two \gset
\c - bob
SELECT jit_approve(:two);
TABLE record;
BEGIN; SELECT jit_approve(:one); ROLLBACK;
BEGIN; SELECT jit_approve(:one); SELECT 1 / 0; ROLLBACK;
BEGIN; SAVEPOINT a; SELECT jit_approve(:one); ROLLBACK TO a; COMMIT;
BEGIN; SELECT jit_deny(:one, 'no'); ROLLBACK;
BEGIN; SELECT jit_revoke(:two, 'enough'); ROLLBACK;
TABLE record;
\c - alice
BEGIN; SELECT jit_request('support', 'refund', key => '3') > 0; ROLLBACK;
BEGIN; SELECT jit_cancel(:one); ROLLBACK;
BEGIN; SELECT jit_release(:two); ROLLBACK;
\c - postgres
BEGIN; SELECT jit.create_scope('gone'); ROLLBACK;
BEGIN; SELECT jit.alter_scope('support', '{"enabled": false}'); ROLLBACK;
BEGIN; SELECT jit.drop_scope('support'); ROLLBACK;
TABLE record;
\c - alice
SELECT jit_active('support', 2);
-- The change and its event have the same transaction.
\c - postgres
SELECT bool_and(r.xmin = e.xmin) FROM jit_private.grants r JOIN jit_private.events e ON e.request_id = r.id AND e.kind = 'approved' WHERE r.tidied_at IS NULL;
SELECT bool_and(n.xmin = e.xmin) FROM jit_private.endings n JOIN jit_private.events e ON e.request_id = n.grant_id AND e.kind = n.kind;

-- Nobody changes or deletes what is on record, superusers included, neither in the tables nor through the views.
SET client_min_messages = warning;
TABLE record;
-- The first in full: who must has to know how.
DELETE FROM jit_private.events; \echo :SQLSTATE
\set VERBOSITY terse
UPDATE jit_private.events SET actor = 'mallory'; \echo :SQLSTATE
UPDATE jit_private.events SET actor = 'mallory' WHERE false; \echo :SQLSTATE
DELETE FROM jit_private.events WHERE id = 1; \echo :SQLSTATE
UPDATE jit_private.events SET actor = 'mallory'; \echo :SQLSTATE
DELETE FROM jit_private.events WHERE id = 1; \echo :SQLSTATE
TRUNCATE jit_private.events; \echo :SQLSTATE
MERGE INTO jit_private.events e USING (SELECT 1 AS id) q ON e.id = q.id WHEN MATCHED THEN DELETE; \echo :SQLSTATE
MERGE INTO jit_private.events e USING (SELECT 1 AS id) q ON e.id = q.id WHEN MATCHED THEN UPDATE SET actor = 'mallory'; \echo :SQLSTATE
UPDATE jit_private.endings SET at = 'infinity'; \echo :SQLSTATE
DELETE FROM jit_private.endings; \echo :SQLSTATE
TRUNCATE jit_private.endings; \echo :SQLSTATE
UPDATE jit_private.reviews SET actor = 'mallory'; \echo :SQLSTATE
DELETE FROM jit_private.reviews; \echo :SQLSTATE
TRUNCATE jit_private.reviews; \echo :SQLSTATE
INSERT INTO jit_private.reviews OVERRIDING SYSTEM VALUE SELECT * FROM jit.reviews ON CONFLICT (id) DO UPDATE SET actor = 'mallory'; \echo :SQLSTATE
-- They do not go with what they refer to either.
BEGIN;
DELETE FROM jit_private.requests;
TRUNCATE jit_private.requests, jit_private.scopes CASCADE;
TABLE record;
ROLLBACK;
-- Nor as a replica, where ordinary triggers are off, nor through a view or a rule.
SET session_replication_role = replica;
UPDATE jit_private.events SET actor = 'mallory'; \echo :SQLSTATE
DELETE FROM jit_private.endings; \echo :SQLSTATE
TRUNCATE jit_private.reviews; \echo :SQLSTATE
RESET session_replication_role;
CREATE VIEW detour AS SELECT * FROM jit.events;
DELETE FROM detour; \echo :SQLSTATE
WITH gone AS (DELETE FROM jit_private.events RETURNING 1) SELECT count(*) FROM gone; \echo :SQLSTATE
DROP TABLE jit_private.events; \echo :SQLSTATE
TABLE record;
-- Others cannot even read it, and writing is nobody's by any right on the tables.
\c - alice
SELECT count(*) FROM jit.events; \echo :SQLSTATE
DELETE FROM jit_private.events; \echo :SQLSTATE
SELECT count(*) FROM jit_private.events; \echo :SQLSTATE
DELETE FROM jit_private.events; \echo :SQLSTATE
\c - postgres
CREATE ROLE events_writer LOGIN IN ROLE pg_write_all_data, pg_read_all_data;
CREATE ROLE events_granted LOGIN;
GRANT ALL ON ALL TABLES IN SCHEMA jit, jit_private TO events_granted;
GRANT ALL ON ALL SEQUENCES IN SCHEMA jit_private TO events_granted;
GRANT ALL ON SCHEMA jit_private TO events_granted;
\c - events_writer
INSERT INTO jit_private.events (at, kind, details) VALUES (now(), 'forged', '{}'); \echo :SQLSTATE
UPDATE jit_private.events SET actor = 'mallory'; \echo :SQLSTATE
DELETE FROM jit_private.events; \echo :SQLSTATE
INSERT INTO jit_private.endings (grant_id, at, kind) VALUES (1, now(), 'expired'); \echo :SQLSTATE
DELETE FROM jit_private.endings; \echo :SQLSTATE
DELETE FROM jit_private.reviews; \echo :SQLSTATE
INSERT INTO jit_private.events (at, kind, details) VALUES (now(), 'forged', '{}'); \echo :SQLSTATE
UPDATE jit_private.events SET actor = 'mallory'; \echo :SQLSTATE
DELETE FROM jit_private.events; \echo :SQLSTATE
\c - events_granted
INSERT INTO jit_private.events (at, kind, details) VALUES (now(), 'forged', '{}'); \echo :SQLSTATE
UPDATE jit_private.events SET actor = 'mallory'; \echo :SQLSTATE
TRUNCATE jit_private.events; \echo :SQLSTATE
DELETE FROM jit_private.endings; \echo :SQLSTATE
INSERT INTO jit_private.events (at, kind, details) VALUES (now(), 'forged', '{}'); \echo :SQLSTATE
DELETE FROM jit_private.endings; \echo :SQLSTATE
COPY jit_private.events (at, kind, details) FROM stdin; \echo :SQLSTATE
\.
TABLE record;
-- An auditor reads.
\c - postgres
GRANT SELECT ON jit.events TO frank;
\c - frank
SELECT count(*) > 20 FROM jit.events;
DELETE FROM jit_private.events; \echo :SQLSTATE
-- A superuser who must has to switch the trigger off first, which is DDL.
\c - postgres
BEGIN;
ALTER TABLE jit_private.events DISABLE TRIGGER append_only;
DELETE FROM jit_private.events WHERE id = 1;
SELECT count(*) FROM jit.events WHERE id = 1;
ROLLBACK;
TABLE record;
REVOKE SELECT ON jit.events FROM frank;
REVOKE ALL ON ALL TABLES IN SCHEMA jit, jit_private FROM events_granted;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA jit_private FROM events_granted;
REVOKE ALL ON SCHEMA jit_private FROM events_granted;
DROP ROLE events_writer, events_granted;
