-- Every function with what it should not be given: NULL, nothing, too much, the wrong type, ids that mean nothing.

SELECT jit.create_scope('s', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('words', '{"key_type": "text", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('ids', '{"key_type": "uuid", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('whole', '{"approvers": {"support_lead": 1}}');

-- jit_active() and jit_keys(): never an error, but for a key of another family.
\c - alice
SELECT jit_active(''), jit_active(repeat('x', 1048576)), jit_active(repeat('s', 64)), jit_active(E'\n'), jit_active('ſ'), jit_active('s'' OR true');
SELECT jit_active('words', ''::text), jit_active('words', repeat('x', 1048576)), jit_active('words', repeat('é', 1000)), jit_active(repeat('x', 1048576), repeat('x', 1048576));
SELECT jit_active('s', -2147483648), jit_active('s', 9223372036854775807), jit_active('s', (-32768)::smallint),
       jit_active('ids', '00000000-0000-0000-0000-000000000000'::uuid);
SELECT jit_keys('', NULL::int), jit_keys(repeat('x', 1048576), NULL::text), jit_keys('words', repeat('x', 1048576)), jit_keys(NULL, 1);
-- Long values that are stored compressed or out of line are the same as others.
SELECT jit_request('words', 'test', key => repeat('k', 1000)) AS long \gset
\c - bob
SELECT jit_approve(:long);
\c - alice
CREATE TEMP TABLE long (scope text, key text);
INSERT INTO long VALUES ('words', repeat('k', 1000)), ('words', repeat('x', 1048576)), (repeat('s', 1048576), 'x');
ALTER TABLE long ALTER key SET STORAGE external;
INSERT INTO long VALUES ('words', repeat('y', 1048576));
SELECT left(scope, 10) AS scope, length(key), jit_active(scope, key), jit_active('words', key) FROM long;
SELECT jit_release(:long);

-- jit_request()
SELECT jit_request(NULL, 'test', key => '1');
SELECT jit_request('s', NULL, key => '1');
SELECT jit_request('s', 'test', key => '1', all_rows => NULL);
SELECT jit_request('', 'test', key => '1');
SELECT jit_request('S', 'test', key => '1');
SELECT jit_request(repeat('x', 1048576), 'test', key => '1');
SELECT jit_request(E's\n', 'test', key => '1');
SELECT jit_request('s', '', key => '1');
SELECT jit_request('s', '   ', key => '1');
SELECT jit_request('s', E'two\nlines', key => '1');
SELECT jit_request('s', repeat('x', 4097), key => '1');
SELECT jit_request('s', repeat('x', 1048576), key => '1');
SELECT jit_request('s', 'test', key => '');
SELECT jit_request('s', 'test', key => 'one');
SELECT jit_request('s', 'test', key => '2147483648');
SELECT jit_request('s', 'test', key => '1.0');
SELECT jit_request('s', 'test', key => repeat('1', 1048576));
SELECT jit_request('words', 'test', key => '');
SELECT jit_request('words', 'test', key => repeat('x', 1025));
SELECT jit_request('words', 'test', key => repeat('x', 1048576));
SELECT jit_request('words', 'test', key => E'two\nlines');
SELECT jit_request('words', 'test', key => E'\t');
SELECT jit_request('words', 'test', key => U&'a\0085b');
SELECT jit_request('s', 'test', key => E'1\n');
-- Input is cut to 63 characters, not bytes.
SELECT jit_request('words', 'test', key => repeat('é', 513));
SELECT jit_request(repeat('é', 63), 'test', key => '1');
SELECT jit_request(repeat('é', 64), 'test', key => '1');
SELECT jit_request('ids', 'test', key => '6b8f0c1e');
SELECT jit_request('whole', 'test', key => '1');
SELECT jit_request('s', 'test');
SELECT jit_request('words', 'test');
SELECT jit_request('words', 'test', all_rows => true);
SELECT jit_request('s', 'test', key => '1', all_rows => true);
SELECT jit_request('s', 'test', key => '1', duration => '0');
SELECT jit_request('s', 'test', key => '1', duration => '-1 hour');
SELECT jit_request('s', 'test', key => '1', duration => '1 month');
SELECT jit_request('s', 'test', key => '1', duration => '1 month -30 days');
SELECT jit_request('s', 'test', key => '1', duration => '8 hours 1 microsecond');
SELECT jit_request('s', 'test', key => '1', duration => '178000000 years');
SELECT jit_request('s', 'test', key => '1', duration => '2000000000 days');
SELECT jit_request('s', 'test', key => '1', duration => '-2000000000 days');
SELECT jit_request('s', 'test', key => '1', duration => 'soon');
SELECT jit_request('s', 'test', key => '1', grantee => 'nobody');
SELECT jit_request('s', 'test', key => '1', grantee => '999999');
SELECT jit_request('s', 'test', key => '1', grantee => '0');
SELECT jit_request('s', 'test', key => '1', grantee => '-');
SELECT jit_request('s', 'test', key => '1', grantee => '4294967295');
SELECT jit_request('s', 'test', key => '1', grantee => 'bob');
SELECT jit_request('s', 'test', key => '1', grantee => 'postgres');
SELECT jit_request('s', 'test', key => '1', starts_at => 'infinity');
SELECT jit_request('s', 'test', key => '1', starts_at => '-infinity');
SELECT jit_request('s', 'test', key => '1', starts_at => 'epoch');
SELECT jit_request('s', 'test', key => '1', starts_at => '294276-12-31 23:59:59+00');
SELECT jit_request('s', 'test', key => '1', starts_at => '4713-01-01 00:00:00+00 BC');
SELECT jit_request('s', 'test', key => 1);
SELECT jit_request('s', 'test', nokey => '1');
SELECT jit_request('s');
SELECT jit_request();
-- Nothing of all that has left a trace.
SELECT id, scope FROM jit.my_requests WHERE id <> :long;

-- jit_cancel() and jit_release()
SELECT jit_cancel(NULL);
SELECT jit_cancel(0);
SELECT jit_cancel(-1);
SELECT jit_cancel(9223372036854775807);
SELECT jit_cancel(-9223372036854775808);
SELECT jit_cancel('x');
SELECT jit_cancel(1.5);
SELECT jit_release(NULL);
SELECT jit_release(0);
SELECT jit_release(-1);
SELECT jit_release(9223372036854775807);
SELECT jit_release(9223372036854775808);

-- jit_approve(), jit_deny(), jit_revoke()
SELECT jit_request('s', 'test', key => '1') AS r \gset
\c - bob
SELECT jit_approve(NULL);
SELECT jit_approve(0);
SELECT jit_approve(-1);
SELECT jit_approve(9223372036854775807);
SELECT jit_approve('x');
SELECT jit_approve(:r, '');
SELECT jit_approve(:r, E'two\nlines');
SELECT jit_approve(:r, repeat('x', 1048576));
SELECT jit_approve(:r, duration => '0');
SELECT jit_approve(:r, duration => '-1 second');
SELECT jit_approve(:r, duration => '2 hours');
SELECT jit_approve(:r, duration => '1 month');
SELECT jit_deny(NULL, 'test');
SELECT jit_deny(:r, NULL);
SELECT jit_deny(:r, ' ');
SELECT jit_deny(:r, repeat('x', 1048576));
SELECT jit_deny(9223372036854775807, 'test');
SELECT jit_deny(-1, 'test');
SELECT jit_revoke(NULL, 'test');
SELECT jit_revoke(:r, NULL);
SELECT jit_revoke(:r, '');
SELECT jit_revoke(:r, repeat('x', 1048576));
SELECT jit_revoke(:r, 'test');
SELECT jit_revoke(9223372036854775807, 'test');
SELECT jit_revoke(-1, 'test');
SELECT id, scope, key, approvals FROM jit.pending;
-- A request like these that is good.
SELECT jit_approve(:r, repeat('x', 4096), '59 minutes');
\c - alice
SELECT ends_at - starts_at AS length FROM jit.my_grants WHERE id = :r;

-- The functions that the views ask
SELECT jit.may_decide(NULL), jit.may_decide(-1), jit.may_decide(9223372036854775807), jit.oversees(NULL), jit.oversees(-1), jit.oversees(2147483647);

-- jit.create_scope(), jit.alter_scope(), jit.drop_scope()
\c - postgres
SELECT jit.create_scope(NULL);
SELECT jit.create_scope('x', NULL);
SELECT jit.create_scope('');
SELECT jit.create_scope('Upper');
SELECT jit.create_scope('with space');
SELECT jit.create_scope('é');
SELECT jit.create_scope(repeat('x', 64));
SELECT jit.create_scope(repeat('x', 1048576));
SELECT jit.create_scope('x', '[]');
SELECT jit.create_scope('x', '"text"');
SELECT jit.create_scope('x', 'null');
SELECT jit.create_scope('x', '{"key_type": 5}');
SELECT jit.alter_scope(NULL, '{}');
SELECT jit.alter_scope('s', NULL);
SELECT jit.alter_scope('no such', '{}');
SELECT jit.alter_scope('s', '[]');
SELECT jit.alter_scope('s', '5');
SELECT jit.alter_scope('s', 'null');
SELECT jit.drop_scope(NULL);
SELECT jit.drop_scope('');
SELECT jit.drop_scope('no such');
-- Texts that go into events, at their longest and one byte more; in bytes, not characters.
BEGIN;
SELECT jit.create_scope('x', jsonb_build_object('description', repeat('d', 4096), 'reason_pattern', repeat('x', 4096)));
ROLLBACK;
SELECT jit.create_scope('x', jsonb_build_object('description', repeat('d', 4097)));
SELECT jit.create_scope('x', jsonb_build_object('description', repeat('é', 2049)));
SELECT jit.create_scope('x', jsonb_build_object('reason_pattern', repeat('x', 4097)));
SELECT jit.alter_scope('s', jsonb_build_object('description', repeat('d', 4097)));
-- What jsonb holds and nobody reads: numbers beyond those of float8, and very deep nesting.
SELECT jit.create_scope('x', '{"max_pending": 1e400}');
SELECT jit.create_scope('x', ('{"approvers":' || repeat('[', 130) || repeat(']', 130) || '}')::jsonb);
\set VERBOSITY terse
SELECT jit.create_scope('x', ('{"approvers":' || repeat('[', 6000) || repeat(']', 6000) || '}')::jsonb); \echo :SQLSTATE
SELECT jit.alter_scope('s', '{"max_grants": -1e400}'); \echo :SQLSTATE
\set VERBOSITY default
-- Durations that no interval can hold are not intervals; those that it can are longer than the maximum.
SELECT jit.create_scope('x', '{"max_duration": "2147483647 days"}');
SELECT jit.create_scope('x', '{"max_duration": "2147483648 days"}');
SELECT jit.create_scope('x', '{"pending_ttl": "2147483647 days 2562047788 hours"}');
SELECT jit.create_scope('x', '{"default_duration": "2147483647 days"}');
SELECT jit.create_scope('x', '{"max_duration": "-2147483648 days"}');
-- What is refused is not shown at any length. Their own statement is what these functions insist on; not here.
SET jit_rls.allow_indirect_decisions = on;
CREATE FUNCTION answer(statement text) RETURNS TABLE (code text, begins text, short boolean) LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    EXECUTE statement;
    RETURN QUERY SELECT '00000', 'done', true;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = pg_exception_detail;
    RETURN QUERY SELECT sqlstate, left(sqlerrm, 30), length(sqlerrm || detail) < 1000;
END $$;
SELECT * FROM answer($$ SELECT jit.alter_scope(repeat('x', 1048576), '{}') $$);
SELECT * FROM answer($$ SELECT jit.drop_scope(repeat('x', 1048576)) $$);
SELECT * FROM answer($$ SELECT jit.create_scope('x', jsonb_build_object(repeat('k', 1048576), 1)) $$);
SELECT * FROM answer($$ SELECT jit.create_scope('x', jsonb_build_object('key_type', repeat('9', 1048576))) $$);
SELECT * FROM answer($$ SELECT jit.create_scope('x', jsonb_build_object('max_duration', repeat('9', 1048576))) $$);
SELECT * FROM answer($$ SELECT jit.create_scope('x', jsonb_build_object('reason_pattern', repeat('(', 100000))) $$);
SELECT * FROM answer($$ SELECT jit.create_scope('x', jsonb_build_object('requesters', jsonb_build_array(repeat('r', 1048576)))) $$);
SELECT * FROM answer($$ SELECT jit.create_scope('x', jsonb_build_object('approvers', jsonb_build_object(repeat('r', 1048576), 1))) $$);
SELECT * FROM answer($$ SELECT jit.create_scope('x', jsonb_build_object('description', repeat('d', 1048576))) $$);
RESET jit_rls.allow_indirect_decisions;
SELECT * FROM answer($$ SELECT jit.drop_scope('s') $$);
SELECT name FROM jit.scopes WHERE dropped_at IS NULL ORDER BY name;
-- Trigger functions, called as none.
SELECT jit.guard_write();
-- For CREATE EXTENSION; it does no harm elsewhere.
SELECT jit.announce_installation();
