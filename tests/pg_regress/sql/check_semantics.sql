-- jit_active() and jit_keys(): what they answer for every kind of scope, key and argument.

SELECT jit.create_scope('k_' || t, jsonb_build_object('key_type', t, 'approvers', '{"support_lead": 1}'::jsonb))
  FROM unnest(ARRAY['smallint', 'int', 'bigint', 'uuid', 'text']) t;
SELECT jit.create_scope('whole', '{"approvers": {"support_lead": 1}}');
SELECT jit.create_scope('every', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('off', '{"key_type": "int", "enabled": false}');

-- Without a grant: false for every key type.
\c - alice
SELECT jit_active('k_smallint', 1::smallint), jit_active('k_int', 1), jit_active('k_bigint', 1::bigint),
       jit_active('k_uuid', '6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44'::uuid), jit_active('k_text', 'acme'::text), jit_active('whole');

SELECT count(jit_request('k_smallint', 'test', key => k)) FROM unnest(ARRAY['-32768', '0', '32767']) k;
SELECT count(jit_request('k_int', 'test', key => k)) FROM unnest(ARRAY['2147483647', '42', '-7', '7']) k;
SELECT count(jit_request('k_bigint', 'test', key => k)) FROM unnest(ARRAY['42', '9223372036854775807', '-9223372036854775808']) k;
SELECT count(jit_request('k_uuid', 'test', key => k))
  FROM unnest(ARRAY['FFFFFFFF-3f0b-4a39-9a55-0d6c7b1f2e44', '{6b8f0c1e3f0b4a399a550d6c7b1f2e44}']) k;
SELECT count(jit_request('k_text', 'test', key => k)) FROM unnest(ARRAY['acme', 'Acme', ' acme', 'é', 'a''b']) k;
SELECT count(jit_request('whole', 'test'));
SELECT count(jit_request('every', 'test', key => '5'));
\c - bob
SELECT jit_approve(id), count(*) FROM jit.pending GROUP BY id ORDER BY id;

-- Exactly the granted keys, at both ends of each type.
\c - alice
SELECT k, jit_active('k_smallint', k::smallint) FROM unnest(ARRAY[-32768, -32767, 0, 1, 32767]) k;
SELECT k, jit_active('k_int', k::int) FROM unnest(ARRAY[-7, 7, 42, 43, 2147483647, -2147483648]) k;
SELECT k, jit_active('k_bigint', k) FROM unnest(ARRAY[42, 9223372036854775807, -9223372036854775808, 0]) k;
SELECT k, jit_active('k_uuid', k) FROM unnest(ARRAY['ffffffff-3f0b-4a39-9a55-0d6c7b1f2e44', '6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44',
                                                    '6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e45']::uuid[]) k;
-- Text keys are compared byte by byte.
SELECT k, jit_active('k_text', k) FROM unnest(ARRAY['acme', 'Acme', ' acme', 'acme ', 'é', 'E', 'a''b', '']) k;

-- The integer types are one family: the column may be narrower or wider than the scope's key_type.
SELECT jit_active('k_bigint', 42::smallint) AS narrow, jit_active('k_bigint', 42) AS int, jit_active('k_smallint', 32767::bigint) AS wide,
       jit_active('k_smallint', 32768::bigint) AS beyond, jit_active('k_int', 42::smallint) AS int2, jit_active('k_int', 42::bigint) AS int8;

-- A scope without keys: only the function without a key.
SELECT jit_active('whole');
SELECT jit_active('whole', 1);
SELECT jit_active('whole', 'acme'::text);
-- The whole of a keyed scope: a grant for a key does not count.
SELECT jit_active('k_int'), jit_active('every'), jit_active('every', 5), jit_active('every', 6);

-- A key of another family is a mistake in the policy: 42809, with the cast to write.
SELECT jit_active('k_int', '42'::text);
\echo :LAST_ERROR_SQLSTATE
-- A bare literal is a text to PostgreSQL.
SELECT jit_active('k_int', '42');
SELECT jit_active('k_smallint', '6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44'::uuid);
SELECT jit_active('k_bigint', 'x'::text);
SELECT jit_active('k_uuid', 42);
SELECT jit_active('k_uuid', '6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44');
SELECT jit_active('k_text', 42::bigint);
SELECT jit_active('k_text', '6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44'::uuid);
-- So it is for those who hold nothing: the policy is found wrong at once, not at the first grant.
\c - frank
SELECT jit_active('k_int', '42'::text);
-- Types that PostgreSQL itself does not bring to one of ours.
SELECT jit_active('k_int', 42.0);
SELECT jit_active('k_int', ARRAY[42]);

-- Unknown and disabled scopes, NULL scopes: false, whatever the key, never an error.
\c - alice
SELECT s, jit_active(s) AS whole, jit_active(s, 1::smallint) AS int2, jit_active(s, 1) AS int4, jit_active(s, 1::bigint) AS int8,
       jit_active(s, '6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44'::uuid) AS uuid, jit_active(s, 'x'::text) AS text
  FROM unnest(ARRAY['off', 'no such', '', 'K_INT', 'k_int ', repeat('k', 64), NULL]) s;
SELECT jit_active(NULL), jit_active(NULL, 1), jit_active(NULL, NULL::int), jit_active(NULL, NULL::uuid), jit_active(NULL, NULL::text);
-- A NULL key: false, also to a holder of other keys, and no error whatever its type. Where one holds all there is, it is true.
SELECT jit_active('k_smallint', NULL::smallint), jit_active('k_int', NULL::int), jit_active('k_bigint', NULL::bigint),
       jit_active('k_uuid', NULL::uuid), jit_active('k_text', NULL::text), jit_active('k_int', NULL), jit_active('k_int', NULL::uuid),
       jit_active('whole', NULL::int) AS whole;

-- A holder of all rows: every key, the NULL key, and the whole.
\c - carol
SELECT count(jit_request('every', 'test', all_rows => true));
\c - bob
SELECT jit_approve(id) FROM jit.pending;
\c - carol
SELECT jit_active('every'), jit_active('every', 5), jit_active('every', -1), jit_active('every', NULL::int), jit_active('every', 9223372036854775807);
-- … but no key of another family.
SELECT jit_active('every', 'x'::text);

-- jit_keys(): sorted, in the type that was asked for.
\c - alice
SELECT jit_keys('k_smallint', NULL::smallint), jit_keys('k_int', NULL::int), jit_keys('k_bigint', NULL::bigint);
SELECT jit_keys('k_uuid', NULL::uuid);
SELECT jit_keys('k_text', NULL::text);
SELECT pg_typeof(jit_keys('k_int', NULL::smallint)), pg_typeof(jit_keys('k_int', NULL::int)), pg_typeof(jit_keys('k_int', NULL::bigint)),
       pg_typeof(jit_keys('k_uuid', NULL::uuid)), pg_typeof(jit_keys('k_text', NULL::text));
-- The second argument only names the type. Keys that do not fit a narrower type are left out: no column of it can have them.
SELECT jit_keys('k_int', 1), jit_keys('k_int', NULL::smallint), jit_keys('k_bigint', NULL::int);
-- All-rows grants add none; nor do scopes that are unknown, NULL, or disabled. Never NULL.
\c - carol
SELECT jit_keys('every', NULL::int), jit_keys('no such', NULL::int), jit_keys(NULL, NULL::int), jit_keys(NULL, NULL::text),
       jit_keys('off', NULL::uuid), jit_keys('k_int', NULL::int);
-- Here the type alone is looked at, so that an untyped NULL, which is a text, is a mistake as well.
SELECT jit_keys('k_int', NULL::text);
SELECT jit_keys('k_int', NULL);
SELECT jit_keys('k_text', NULL);
SELECT jit_keys('whole', NULL::int);

-- Two grants of one key, its own and a group's, are one key, and one of them is enough.
\c - alice
SELECT jit_request('k_int', 'test', key => '42', grantee => 'support') AS shared \gset
\c - bob
SELECT jit_approve(:shared);
\c - alice
SELECT jit_keys('k_int', NULL::int);
SELECT jit_release(id) FROM jit.my_grants WHERE scope = 'k_int' AND key = '42' AND grantee = 'alice';
SELECT jit_keys('k_int', NULL::int), jit_active('k_int', 42);
SELECT jit_release(:shared);
SELECT jit_keys('k_int', NULL::int), jit_active('k_int', 42);

-- A scope that is disabled under its grants: false at once; enabling it again revives nothing.
\c - postgres
SELECT jit.alter_scope('k_text', '{"enabled": false}');
\c - alice
SELECT jit_active('k_text', 'acme'::text), jit_keys('k_text', NULL::text);
\c - postgres
SELECT jit.alter_scope('k_text', '{"enabled": true}');
\c - alice
SELECT jit_active('k_text', 'acme'::text), jit_keys('k_text', NULL::text);
-- A scope that is dropped and made anew: the grants belong to the old one.
\c - postgres
SELECT jit.drop_scope('k_uuid');
SELECT jit.create_scope('k_uuid', '{"key_type": "uuid"}');
\c - alice
SELECT jit_active('k_uuid', '6b8f0c1e-3f0b-4a39-9a55-0d6c7b1f2e44'::uuid), jit_keys('k_uuid', NULL::uuid);

-- What the planner and parallel query are told about the functions.
SELECT p.oid::regprocedure, p.provolatile, p.proparallel, p.proisstrict, p.prosecdef
  FROM pg_proc p WHERE p.proname IN ('jit_active', 'jit_keys') ORDER BY p.oid::regprocedure::text COLLATE "C";
