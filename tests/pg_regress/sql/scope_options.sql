-- The options of a scope: defaults, changes, and what is refused.
\pset tuples_only on
\pset format unaligned
-- The rules as they stand, without ids and times.
CREATE VIEW rules AS
SELECT s.name, s.description, s.key_type, s.allow_all_rows, s.default_duration, s.max_duration, s.pending_ttl,
       s.reason_pattern, s.on_end, s.enabled, s.epoch,
       (SELECT jsonb_object_agg(a.role, a.people) FROM jit.approvers a WHERE a.scope_id = s.id) AS approvers,
       CASE WHEN s.anyone_may_ask THEN 'anyone'
            ELSE (SELECT string_agg(r.role, ', ' ORDER BY r.role) FROM jit.requesters r WHERE r.scope_id = s.id) END AS requesters
  FROM jit.scopes s WHERE s.dropped_at IS NULL ORDER BY s.name;
CREATE VIEW count AS SELECT format('%s scopes, %s events', (SELECT count(*) FROM jit.scopes), (SELECT count(*) FROM jit.events));

-- Every option has a default. Without approvers nothing is approved, without requesters anyone may ask.
SELECT jit.create_scope('plain');
SELECT * FROM rules;
-- The event has all the options.
SELECT kind, request_id, scope, login, actor, jsonb_pretty(details) FROM jit.events ORDER BY id;

-- null is the default, too.
SELECT jit.create_scope('nulls', '{"description": null, "key_type": null, "allow_all_rows": null, "approvers": null, "requesters": null,
    "default_duration": null, "max_duration": null, "pending_ttl": null, "reason_pattern": null, "on_end": null, "enabled": null}');
SELECT count(*) FROM (SELECT DISTINCT details FROM jit.events) same;

-- All of them given. The longest name, and every character that a name may have.
SELECT jit.create_scope('support.eu-1_' || repeat('x', 50), '{"description": "orders of one customer", "key_type": "bigint",
    "allow_all_rows": true, "approvers": {"support_lead": 2, "security": 1}, "requesters": ["support", "oncall"],
    "default_duration": "30 minutes", "max_duration": "2 days", "pending_ttl": "90 seconds", "reason_pattern": "^[A-Z]+-[0-9]+",
    "on_end": "terminate", "enabled": false}');
SELECT * FROM rules WHERE name LIKE 'support.%';
-- A requester named twice counts once.
SELECT jit.create_scope('twice', '{"requesters": ["support", "support"]}');
SELECT requesters FROM rules WHERE name = 'twice';
-- Each type of key.
SELECT jit.create_scope('keys.' || t, jsonb_build_object('key_type', t)) FROM unnest('{smallint,int,bigint,uuid,text}'::text[]) t;
SELECT name, key_type FROM rules WHERE name LIKE 'keys.%';

-- Left out, the default duration is an hour, or the maximum where that is less.
SELECT jit.create_scope('short', '{"max_duration": "30 minutes"}');
SELECT jit.create_scope('exact', '{"max_duration": "1 hour"}');
SELECT jit.create_scope('null', '{"max_duration": "59 minutes 59 seconds", "default_duration": null}');
SELECT name, default_duration, max_duration FROM rules WHERE name IN ('short', 'exact', 'null');
SELECT scope, details #>> '{options,default_duration}' AS default, details #>> '{options,max_duration}' AS max FROM jit.events
 WHERE scope IN ('short', 'exact', 'null') ORDER BY id;
-- Durations are on record in clock form, however they were written.
SELECT jit.create_scope('clock', '{"default_duration": "P1DT1H", "max_duration": "2 days 0.5 seconds", "pending_ttl": "90"}');
SELECT details #>> '{options,default_duration}' AS default, details #>> '{options,max_duration}' AS max,
       details #>> '{options,pending_ttl}' AS ttl FROM jit.events WHERE scope = 'clock';

-- From here on everything is refused, and changes nothing.
TABLE count;
-- The name is taken.
SELECT jit.create_scope('plain', '{"description": "another"}'); \echo :SQLSTATE
-- Names that are none.
SELECT jit.create_scope(''); \echo :SQLSTATE
SELECT jit.create_scope('Support'); \echo :SQLSTATE
SELECT jit.create_scope('a b'); \echo :SQLSTATE
SELECT jit.create_scope('é'); \echo :SQLSTATE
SELECT jit.create_scope(E'a\n'); \echo :SQLSTATE
SELECT jit.create_scope(repeat('x', 64)); \echo :SQLSTATE
SELECT jit.create_scope(NULL); \echo :SQLSTATE
-- Options that are no object.
SELECT jit.create_scope('bad', NULL); \echo :SQLSTATE
SELECT jit.create_scope('bad', 'null'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '[]'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '"key_type"'); \echo :SQLSTATE
-- Options that do not exist are named, also those that are null.
SELECT jit.create_scope('bad', '{"approver": {"support_lead": 1}}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"Enabled": true}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"unheard_of": null}'); \echo :SQLSTATE
-- Wrong types, with the path to what is wrong.
SELECT jit.create_scope('bad', '{"approvers": ["support_lead"]}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"approvers": {"support_lead": "two"}}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"approvers": {"support_lead": 1.5}}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"approvers": {"support_lead": null}}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"approvers": {"support_lead": -1}}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"requesters": "support"}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"requesters": ["support", 7]}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"enabled": "yes"}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"allow_all_rows": 1}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"description": 7}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"max_duration": 3600}'); \echo :SQLSTATE
-- Wrong values.
SELECT jit.create_scope('bad', '{"key_type": "float"}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"key_type": "INT"}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"on_end": "wait"}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"approvers": {"support_lead": 0}}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"approvers": {"support_lead": 101}}'); \echo :SQLSTATE
-- An empty list would let nobody ask.
SELECT jit.create_scope('bad', '{"requesters": []}'); \echo :SQLSTATE
-- Roles that do not exist; names are written as in pg_roles, and PUBLIC is no role.
SELECT jit.create_scope('bad', '{"approvers": {"support_lead": 1, "nobody_here": 1}}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"approvers": {"Support_Lead": 1}}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"approvers": {"public": 1}}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"approvers": {"": 1}}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"requesters": ["support", "nobody_here"]}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"break_glass": ["nobody_here"]}'); \echo :SQLSTATE
-- Durations: no interval, nothing, negative, months, endless.
SELECT jit.create_scope('bad', '{"max_duration": "soon"}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"max_duration": ""}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"max_duration": "0 hours"}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"max_duration": "-1 hour"}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"max_duration": "1 month"}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"max_duration": "100 years"}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"max_duration": "3661 days"}'); \echo :SQLSTATE
-- An interval only since 17.
\set VERBOSITY sqlstate
SELECT jit.create_scope('bad', '{"max_duration": "infinity"}');
\set VERBOSITY default
SELECT jit.create_scope('bad', '{"pending_ttl": "1 month"}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"pending_ttl": "0"}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"default_duration": "-5 minutes"}'); \echo :SQLSTATE
-- The default cannot be longer than the maximum, also where only one of them is given.
SELECT jit.create_scope('bad', '{"default_duration": "2 hours", "max_duration": "1 hour"}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"default_duration": "9 hours"}'); \echo :SQLSTATE
-- A pattern that does not compile.
SELECT jit.create_scope('bad', '{"reason_pattern": "[A-"}'); \echo :SQLSTATE
SELECT jit.create_scope('bad', '{"reason_pattern": "(refund"}'); \echo :SQLSTATE
TABLE count;

-- Whoever may not execute the function is no admin.
\c - bob
SELECT jit.create_scope('bobs', '{"approvers": {"support_lead": 1}}'); \echo :SQLSTATE
SELECT jit.alter_scope('plain', '{"approvers": {"support_lead": 1}}'); \echo :SQLSTATE
SELECT jit.drop_scope('plain'); \echo :SQLSTATE
\c - postgres
TABLE count;
-- Whoever may is one, for that function alone.
GRANT EXECUTE ON FUNCTION jit.create_scope(text, jsonb) TO frank;
\c - frank
SELECT jit.create_scope('franks', '{"approvers": {"support_lead": 1}}');
SELECT jit.drop_scope('franks'); \echo :SQLSTATE
\c - postgres
SELECT kind, scope, login, actor FROM jit.events ORDER BY id DESC LIMIT 1;
REVOKE EXECUTE ON FUNCTION jit.create_scope(text, jsonb) FROM frank;
SELECT max(id) AS last FROM jit.events \gset

-- Changes: each is an event with the old and the new value, and leaves the other options alone.
SELECT jit.alter_scope('plain', '{"description": "new", "key_type": "uuid", "max_duration": "90 minutes"}');
SELECT jit.alter_scope('plain', '{"approvers": {"support_lead": 1}, "requesters": ["support"], "reason_pattern": "x", "on_end": "none"}');
SELECT jit.alter_scope('plain', '{"approvers": {"security": 2}, "allow_all_rows": true, "pending_ttl": "1 hour", "default_duration": "90 minutes"}');
SELECT * FROM rules WHERE name = 'plain';
-- null sets one back to its default.
SELECT jit.alter_scope('plain', '{"description": null, "approvers": null, "requesters": null, "max_duration": null, "default_duration": null, "key_type": null}');
SELECT * FROM rules WHERE name = 'plain';
SELECT kind, scope, login, actor, details FROM jit.events WHERE id > :last ORDER BY id;
-- What changes nothing is no event, however the value is spelt.
TABLE count;
SELECT jit.alter_scope('plain', '{}');
SELECT jit.alter_scope('plain', '{"max_duration": "8:00", "enabled": true}');
TABLE count;

-- Refused changes; nothing of them is kept, not even the good half.
SELECT jit.alter_scope('plain', '{"description": "half", "max_duration": "soon"}'); \echo :SQLSTATE
SELECT jit.alter_scope('plain', '{"description": "half", "approvers": {"nobody_here": 1}}'); \echo :SQLSTATE
SELECT jit.alter_scope('plain', '{"description": "half", "requesters": []}'); \echo :SQLSTATE
SELECT jit.alter_scope('plain', '{"description": "half", "break_glass": ["support", "nobody_here"]}'); \echo :SQLSTATE
SELECT jit.alter_scope('plain', '{"description": "half", "reason_pattern": "*"}'); \echo :SQLSTATE
SELECT jit.alter_scope('plain', '{"description": "half", "name": "other"}'); \echo :SQLSTATE
SELECT jit.alter_scope('plain', '{"unheard_of": null}'); \echo :SQLSTATE
SELECT jit.alter_scope('plain', '{"max_duration": "10 minutes"}'); \echo :SQLSTATE
SELECT jit.alter_scope('plain', '[]'); \echo :SQLSTATE
SELECT jit.alter_scope('plain', NULL); \echo :SQLSTATE
SELECT jit.alter_scope(NULL, '{}'); \echo :SQLSTATE
SELECT jit.alter_scope('nowhere', '{"enabled": false}'); \echo :SQLSTATE
SELECT jit.drop_scope('nowhere'); \echo :SQLSTATE
SELECT jit.drop_scope(NULL); \echo :SQLSTATE
SELECT * FROM rules WHERE name = 'plain';
TABLE count;

-- Once somebody has asked, keys on record must not come to mean other rows.
SELECT jit.alter_scope('plain', '{"key_type": "int"}');
\c - alice
SELECT jit_request('plain', 'ex refund #981', key => '42');
\c - postgres
TABLE count;
SELECT jit.alter_scope('plain', '{"key_type": "bigint"}'); \echo :SQLSTATE
SELECT jit.alter_scope('plain', '{"key_type": null}'); \echo :SQLSTATE
SELECT key_type FROM rules WHERE name = 'plain';
TABLE count;
-- Naming the type it has is no change.
SELECT jit.alter_scope('plain', '{"key_type": "int"}');
TABLE count;
