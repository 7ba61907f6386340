-- Somebody who may write all data, and would rather keep the access, cannot make its ending fail.

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": {"support_lead": 1}}');
CREATE ROLE wanda LOGIN IN ROLE pg_write_all_data;
\c - wanda
SELECT jit_request('s', 'test', key => '1') AS one, jit_request('s', 'test', key => '2') AS two, jit_request('s', 'test', key => '3') AS three \gset
\c - bob
SELECT jit_approve(id) FROM jit.pending ORDER BY id;

-- pg_write_all_data covers sequences. Put back, the next id is one that is taken; put to its end, there is no next one.
\c - wanda
SELECT jit_keys('s', NULL::int);
DO $$ BEGIN PERFORM setval('jit.events_id_seq', 1, false), setval('jit.endings_id_seq', 1, false); EXCEPTION WHEN OTHERS THEN NULL; END $$;
\c - bob
SELECT jit_revoke(:one, 'test');
\c - wanda
DO $$ BEGIN PERFORM setval('jit.events_id_seq', 9223372036854775807); EXCEPTION WHEN OTHERS THEN NULL; END $$;
DO $$ BEGIN PERFORM setval('jit.endings_id_seq', 9223372036854775807); EXCEPTION WHEN OTHERS THEN NULL; END $$;
\c - bob
SELECT jit_revoke(:two, 'test');
\c - postgres
SELECT jit.alter_scope('s', '{"enabled": false}');
\c - wanda
SELECT jit_keys('s', NULL::int);
\c - postgres
DROP ROLE wanda;
