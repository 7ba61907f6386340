-- What jit_request() refuses, and how it writes keys.
\pset tuples_only on
\pset format unaligned
-- What is on record, readable by all here: every refusal can show that nothing changed.
CREATE VIEW record AS SELECT format('requests: %s; %s reviews, %s grants, %s endings, %s events',
    (SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM jit.requests), (SELECT count(*) FROM jit.reviews),
    (SELECT count(*) FROM jit.grants), (SELECT count(*) FROM jit.endings), (SELECT count(*) FROM jit.events));
GRANT SELECT ON record TO PUBLIC;
SELECT jit.create_scope('support', '{"key_type": "int", "approvers": {"support_lead": 1}, "requesters": ["support", "oncall"], "max_duration": "4 hours"}');
SELECT jit.create_scope('small', '{"key_type": "smallint", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('big', '{"key_type": "bigint", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('patient', '{"key_type": "uuid", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('tenant', '{"key_type": "text", "approvers": {"support_lead": 1}, "allow_all_rows": true}');
SELECT jit.create_scope('whole', '{"approvers": {"support_lead": 1}}');
SELECT jit.create_scope('ticket', '{"approvers": {"support_lead": 1}, "reason_pattern": "^[A-Z]+-[0-9]+"}');
SELECT jit.create_scope('leads', '{"approvers": {"security": 1}, "requesters": ["support_lead"]}');
SELECT jit.create_scope('closed', '{"enabled": false}');
-- Members of oncall that inherit it, that may only become it, and with ADMIN OPTION.
GRANT oncall TO alice;
CREATE ROLE request_sleeper LOGIN NOINHERIT IN ROLE oncall;
CREATE ROLE request_admin LOGIN NOINHERIT;
GRANT oncall TO request_admin WITH ADMIN OPTION;

\c - alice
TABLE record;
-- An unknown scope: the HINT lists the enabled ones that this session may ask for.
SELECT jit_request('suport', 'refund', key => '42'); \echo :SQLSTATE
SELECT jit_request('', 'refund'); \echo :SQLSTATE
SELECT jit_request('SUPPORT', 'refund', key => '42'); \echo :SQLSTATE
\c - frank
SELECT jit_request('suport', 'refund', key => '42'); \echo :SQLSTATE
-- A disabled one.
\c - alice
SELECT jit_request('closed', 'refund'); \echo :SQLSTATE
-- One that somebody else may ask for.
SELECT jit_request('leads', 'refund'); \echo :SQLSTATE
-- No scope, no reason, no answer to all_rows.
SELECT jit_request(NULL, 'refund'); \echo :SQLSTATE
SELECT jit_request('support', NULL, key => '42'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', all_rows => NULL); \echo :SQLSTATE

-- Keys: none where one is needed, with what can be written in its place.
SELECT jit_request('support', 'refund'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => NULL); \echo :SQLSTATE
SELECT jit_request('tenant', 'refund'); \echo :SQLSTATE
SELECT jit_request('patient', 'refund'); \echo :SQLSTATE
-- All rows where that is not allowed; together with a key; a key where there are none.
SELECT jit_request('support', 'refund', all_rows => true); \echo :SQLSTATE
SELECT jit_request('tenant', 'refund', key => 'acme', all_rows => true); \echo :SQLSTATE
SELECT jit_request('whole', 'refund', key => '42'); \echo :SQLSTATE
SELECT jit_request('whole', 'refund', key => '42', all_rows => true); \echo :SQLSTATE
-- Keys that do not parse, by type.
SELECT jit_request('support', 'refund', key => 'forty-two'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => ''); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '4 2'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42.0'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '0x2a'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '1e3'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42; DROP TABLE orders'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '2147483648'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '-2147483649'); \echo :SQLSTATE
SELECT jit_request('small', 'refund', key => '32768'); \echo :SQLSTATE
SELECT jit_request('big', 'refund', key => '9223372036854775808'); \echo :SQLSTATE
SELECT jit_request('patient', 'refund', key => '42'); \echo :SQLSTATE
SELECT jit_request('patient', 'refund', key => '6b8f0c1e-3f0b4a39-9a55-0d6c7b1f2e44'); \echo :SQLSTATE
SELECT jit_request('patient', 'refund', key => '{6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44'); \echo :SQLSTATE
SELECT jit_request('tenant', 'refund', key => ''); \echo :SQLSTATE
SELECT jit_request('tenant', 'refund', key => repeat('x', 1025)); \echo :SQLSTATE

-- Reasons: none, blank, too long (in bytes), with control characters, off the pattern.
SELECT jit_request('whole', ''); \echo :SQLSTATE
SELECT jit_request('whole', '   '); \echo :SQLSTATE
SELECT jit_request('whole', repeat('x', 4097)); \echo :SQLSTATE
SELECT jit_request('whole', repeat('é', 2049)); \echo :SQLSTATE
SELECT jit_request('whole', E'refund\nLOG: forged'); \echo :SQLSTATE
SELECT jit_request('whole', E'refund\x1b[31m'); \echo :SQLSTATE
SELECT jit_request('whole', E'ref\u0085und'); \echo :SQLSTATE
SELECT jit_request('ticket', 'refund'); \echo :SQLSTATE
SELECT jit_request('ticket', 'see OPS-12'); \echo :SQLSTATE

-- Durations: nothing, negative, too long, with months, too long to be a number. The maximum is named.
SELECT jit_request('support', 'refund', key => '42', duration => '0'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', duration => '-1 hour'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', duration => '1 day -24 hours'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', duration => '4 hours 0.000001 seconds'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', duration => '1 day'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', duration => '1 month'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', duration => '1 month -30 days'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', duration => '-1 month 31 days'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', duration => '178000000 years'); \echo :SQLSTATE
\set VERBOSITY sqlstate
SELECT jit_request('support', 'refund', key => '42', duration => '2147483647 days'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', duration => '-2147483648 days'); \echo :SQLSTATE
\set VERBOSITY default

-- Starts: in the past, too far ahead, endless.
SELECT jit_request('support', 'refund', key => '42', starts_at => clock_timestamp() - interval '1 second'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', starts_at => '2001-01-01'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', starts_at => clock_timestamp() + interval '31 days'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', starts_at => 'infinity'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', starts_at => '-infinity'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', starts_at => '294276-12-31 23:59:59.999999'); \echo :SQLSTATE

-- Grantees that do not exist: regrole takes any number.
SELECT jit_request('support', 'refund', key => '42', grantee => '999999'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', grantee => '-'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', grantee => '4294967295'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', grantee => 'nobody_here'); \echo :SQLSTATE
-- Somebody else, and groups that one does not belong to.
SELECT jit_request('support', 'refund', key => '42', grantee => 'carol'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', grantee => 'support_lead'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', grantee => 'postgres'); \echo :SQLSTATE
-- A group that one belongs to, but which may not ask.
SELECT jit_request('leads', 'refund', grantee => 'oncall'); \echo :SQLSTATE
-- The login may ask, the role it has become may not; and the other way round.
SET ROLE oncall;
SELECT jit_request('leads', 'refund'); \echo :SQLSTATE
\c - frank
SELECT jit_request('support', 'refund', key => '42'); \echo :SQLSTATE
\c - postgres
GRANT oncall TO bob;
\c - bob
SET ROLE support_lead;
SELECT jit_request('support', 'refund', key => '42'); \echo :SQLSTATE
\c - postgres
REVOKE oncall FROM bob;
-- A superuser belongs to no group by being one.
SELECT jit_request('support', 'refund', key => '42'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '42', grantee => 'alice'); \echo :SQLSTATE
SELECT jit_request('whole', 'refund', grantee => 'oncall'); \echo :SQLSTATE
-- None of all this has left a trace.
TABLE record;

-- Keys are written in one way only, so that two spellings are one key.
\c - alice
SELECT jit_request('support', 'refund', key => ' +042 ');
SELECT jit_request('support', 'refund', key => '42'); \echo :SQLSTATE
SELECT jit_request('support', 'refund', key => '-0');
SELECT jit_request('small', 'refund', key => '-32768');
SELECT jit_request('big', 'refund', key => '09223372036854775807');
SELECT jit_request('patient', 'refund', key => ' {6B8F0C1E3F0B4A399A550D6C7B1F2E44} ');
SELECT jit_request('patient', 'refund', key => '6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44'); \echo :SQLSTATE
SELECT jit_request('patient', 'refund', key => '6b8f0c1e3f0b4a399a550d6c7b1f2e44'); \echo :SQLSTATE
-- Text is taken as it is.
SELECT jit_request('tenant', 'refund', key => ' Acme ');
SELECT jit_request('tenant', 'refund', key => 'acme');
-- All rows, said in so many words; a scope without keys has nothing narrower.
SELECT jit_request('tenant', 'refund', all_rows => true);
SELECT jit_request('whole', 'refund');
SELECT jit_request('whole', 'refund', all_rows => true); \echo :SQLSTATE
SELECT id, scope, key, all_rows FROM jit.my_requests ORDER BY id;

-- The same twice: the pending one is named. Another key, grantee or scope is another wish.
TABLE record;
SELECT jit_request('tenant', 'another reason', key => 'acme', duration => '5 minutes'); \echo :SQLSTATE
SELECT jit_request('tenant', 'refund', all_rows => true); \echo :SQLSTATE
TABLE record;
SELECT jit_request('tenant', 'refund', key => 'acme', grantee => 'oncall') AS for_group \gset
SELECT jit_request('tenant', 'refund', key => 'acme', grantee => 'oncall'); \echo :SQLSTATE
-- A member's own wish is not the same as another member's.
\c - carol
SELECT jit_request('tenant', 'refund', key => 'acme') AS carols \gset
-- Once it is off the table, one can ask again.
\c - alice
SELECT jit_cancel(:for_group);
SELECT jit_request('tenant', 'refund', key => 'acme', grantee => 'oncall') > :for_group;

-- Asking for a group: its members in any way that lets them act as it.
\c - request_sleeper
SELECT jit_request('support', 'refund', key => '43', grantee => 'oncall') > 0;
\c - request_admin
SELECT jit_request('support', 'refund', key => '43', grantee => 'oncall') > 0;
-- NOINHERIT members may ask for what their group may ask for.
SELECT jit_request('support', 'refund', key => '44') > 0;

-- NULL for everything optional means the default.
\c - alice
SELECT jit_request('whole', 'refund', NULL, NULL, 'oncall', NULL) > 0;
-- The edges: the longest reason, the longest duration, a trimmed reason, a start within 30 days.
SELECT jit_request('support', repeat('é', 2048), key => '45', duration => '4 hours') > 0;
SELECT jit_request('support', '  refund  ', key => '46', duration => '0.000001 seconds', starts_at => clock_timestamp() + interval '29 days') > 0;
SELECT jit_request('ticket', 'OPS-12 refund') > 0;
SELECT scope, key, grantee, octet_length(reason), duration, starts_at IS NOT NULL FROM jit.my_requests WHERE key IN ('45', '46') OR scope IN ('whole', 'ticket') ORDER BY id;
-- A request needs nobody's rights on the tables, and search_path and settings do not matter to it.
SET search_path = pg_temp; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = iso_8601; SET TimeZone = 'Asia/Tokyo'; SET standard_conforming_strings = off;
SELECT public.jit_request('support', 'refund', key => '47', duration => '90 minutes', starts_at => '2001-01-01'); \echo :SQLSTATE
SELECT public.jit_request('support', 'refund', key => '47', duration => '90 minutes') > 0;
\c - postgres
SELECT details FROM jit.events WHERE kind = 'requested' ORDER BY id DESC LIMIT 1;

-- A refusal that is caught leaves the session as it was: who it is, and its settings.
\c - alice
SET search_path = public; SET DateStyle = 'German'; SET TimeZone = 'Asia/Tokyo';
DO $$
BEGIN
    PERFORM jit_request('nowhere', 'refund');
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '%: %, %, %, %', SQLSTATE, current_user, current_setting('search_path'), current_setting('DateStyle'), current_setting('TimeZone');
END
$$;
SELECT count(*) FROM jit.requests; \echo :SQLSTATE
\c - postgres
DROP ROLE request_sleeper, request_admin;
REVOKE oncall FROM alice;
