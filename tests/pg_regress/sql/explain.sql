-- jit_explain: why access is there, or is not.

SELECT jit.create_scope('s', '{"key_type": "int", "approvers": [{"support_lead": 1}, {"security": 1}]}');
SELECT jit.create_scope('quick', '{"key_type": "int", "allow_all_rows": true, "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('whole', '{"approvers": {"support_lead": 1}}');
GRANT oncall TO alice;
CREATE TABLE t (k int);
CREATE POLICY jit ON t USING (jit_active('quick', k));
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
-- Points in time have no place here.
CREATE FUNCTION told(scope text, key text = NULL, grantee regrole = NULL) RETURNS TABLE (reason text, request bigint, via text, until boolean, detail text)
LANGUAGE sql AS $$
    SELECT x.reason, x.request, x.via, x.until > now(), regexp_replace(x.detail, '\d{4}-\d\d-\d\dT[0-9:.]+[+-][0-9]+:[0-9]+|\d{4}-\d\d-\d\dT[0-9:.]+[+-][0-9]+', '(time)', 'g')
      FROM jit_explain(scope, key, grantee) WITH ORDINALITY AS x (reason, request, via, until, detail, n) ORDER BY n
$$;

\c - alice
SELECT * FROM told('nowhere', '1');
SELECT * FROM told('quick', '1');
SELECT jit_request('quick', 'refund', key => '1') AS a \gset
SELECT * FROM told('quick', '1');
SELECT * FROM told('quick', '2');
\c - bob
SELECT jit_approve(:a);
\c - alice
SELECT * FROM told('quick', '1');
SELECT * FROM told('quick', '01');
SELECT * FROM told('quick', '2');
SELECT * FROM told('quick');
-- Through a group; not started; all rows; given back.
SELECT jit_request('quick', 'refund', key => '2', grantee => 'oncall') AS b,
       jit_request('quick', 'refund', key => '1', starts_at => now() + interval '1 day') AS c,
       jit_request('quick', 'everything', all_rows => true) AS d \gset
\c - bob
SELECT jit_approve(:b), jit_approve(:c), jit_approve(:d);
\c - alice
SELECT jit_release(:a);
SELECT * FROM told('quick', '1');
SELECT * FROM told('quick', '2');
-- Stages: whom a request waits for.
SELECT jit_request('s', 'refund', key => '1') AS e \gset
SELECT * FROM told('s', '1');
\c - bob
SELECT jit_approve(:e);
\c - alice
SELECT * FROM told('s', '1');
-- Others' access: for approvers and admins.
SELECT * FROM told('quick', '1', 'carol'); \echo :SQLSTATE
\c - erin
SELECT * FROM told('quick', '1', 'alice'); \echo :SQLSTATE
SELECT * FROM told('s', '1', 'alice');
\c - bob
SELECT * FROM told('quick', '1', 'alice');
SELECT jit_revoke(:d, 'too much');
SELECT * FROM told('quick', '7', 'alice');
SELECT * FROM told('quick', '1', '999999'::regrole); \echo :SQLSTATE
\c - postgres
SELECT * FROM told('quick', '1', 'carol');
-- What row-level security does by itself.
SELECT * FROM told('quick', '1');
ALTER ROLE carol BYPASSRLS;
SELECT * FROM told('quick', '1', 'carol');
ALTER ROLE carol NOBYPASSRLS;
ALTER TABLE t OWNER TO carol;
SELECT * FROM told('quick', '1', 'carol');
ALTER TABLE t FORCE ROW LEVEL SECURITY;
SELECT * FROM told('quick', '1', 'carol');
-- Who approved, or had changed the rules, is not served by way of a group.
\c - postgres
GRANT oncall TO bob;
\c - bob
SELECT * FROM told('quick', '2');
\c - postgres
REVOKE oncall FROM bob;
SELECT jit.alter_scope('quick', '{"enabled": false}');
SELECT * FROM told('quick', '1', 'alice');
-- Bad input.
\c - alice
SELECT * FROM told(NULL, '1'); \echo :SQLSTATE
SELECT * FROM told('s', 'one'); \echo :SQLSTATE
SELECT * FROM told('whole', '1'); \echo :SQLSTATE
SELECT * FROM told('whole');
\c - postgres
REVOKE oncall FROM alice;
DROP TABLE t;
