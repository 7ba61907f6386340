-- The kill switch.

SELECT jit.create_scope('a', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('b', '{"key_type": "int", "approvers": {"support_lead": 1}}');
CREATE TABLE r (id bigint);
GRANT ALL ON r TO PUBLIC;
\c - alice
INSERT INTO r SELECT jit_request(s, 'refund', key => k::text, starts_at => CASE WHEN k = 3 THEN now() + interval '1 day' END)
  FROM unnest('{a,b}'::text[]) s, generate_series(1, 3) k;
\c - carol
INSERT INTO r SELECT jit_request(s, 'refund', key => k::text) FROM unnest('{a,b}'::text[]) s, generate_series(1, 2) k;
\c - bob
SELECT count(jit_approve(id)) FROM r;
SELECT jit.revoke_all(reason => 'not mine to do'); \echo :SQLSTATE

\c - postgres
CREATE VIEW live AS SELECT g.scope, g.grantee, count(*) FROM jit_private.live_grants g GROUP BY 1, 2 ORDER BY 1, 2;
TABLE live;
-- Bad input changes nothing.
SELECT jit.revoke_all(); \echo :SQLSTATE
SELECT jit.revoke_all('a', reason => ''); \echo :SQLSTATE
SELECT jit.revoke_all('nowhere', reason => 'breach'); \echo :SQLSTATE
SELECT jit.revoke_all('a', '999999'::regrole, 'breach'); \echo :SQLSTATE
SELECT jit.revoke_all('a', 'dave', 'breach');
TABLE live;
-- What matches, scheduled ones included.
SELECT jit.revoke_all('a', 'alice', 'she has left');
TABLE live;
SELECT jit.revoke_all(grantee => 'carol', reason => 'she has left, too');
TABLE live;
SELECT jit.revoke_all('b', reason => 'breach');
TABLE live;
SELECT jit.revoke_all(reason => 'nothing is left');
SELECT kind, login, details->>'reason' AS reason, count(*) FROM jit.events WHERE kind = 'revoked' GROUP BY 1, 2, 3 ORDER BY 3;
SELECT kind, actor, reason, count(*) FROM jit.endings GROUP BY 1, 2, 3 ORDER BY 3;
\c - alice
SELECT jit_active('a', 1), jit_active('b', 1);
-- One may be handed out without the others; it works from inside a function as well: to end access is never a trap.
\c - postgres
CREATE ROLE guard LOGIN;
GRANT EXECUTE ON FUNCTION jit.revoke_all(text, regrole, text) TO guard;
\c - alice
SELECT jit_request('a', 'refund', key => '1') AS id \gset
\c - bob
SELECT jit_approve(:id);
\c - guard
DO $$ BEGIN PERFORM jit.revoke_all('a', reason => 'alarm'); END $$;
\c - alice
SELECT jit_active('a', 1);
\c - postgres
DROP OWNED BY guard;
DROP ROLE guard;
DROP VIEW live;
DROP TABLE r;
