-- Row-level security policies that call jit_active(): every command, ways to combine them, kinds of tables.

SELECT jit.create_scope('orders', '{"key_type": "int", "approvers": {"support_lead": 1}}');
SELECT jit.create_scope('ledger', '{"approvers": {"support_lead": 1}}');
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, owner text, note text DEFAULT 'new');
INSERT INTO orders SELECT i, i % 4, CASE WHEN i = 3 THEN 'frank' ELSE 'nobody' END FROM generate_series(1, 8) i;
INSERT INTO orders VALUES (99, NULL, 'nobody');
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
GRANT ALL ON orders TO PUBLIC;

\c - alice
SELECT jit_request('orders', 'refund', key => '2') AS request \gset
\c - bob
SELECT jit_approve(:request);

-- FOR SELECT: the holder sees the rows of the key, nobody else any.
\c - postgres
CREATE POLICY see ON orders FOR SELECT USING (jit_active('orders', customer_id));
\c - alice
SELECT * FROM orders ORDER BY id;
\c - carol
SELECT * FROM orders ORDER BY id;
-- It is a policy for SELECT alone: nothing is written.
\c - alice
INSERT INTO orders VALUES (10, 2, 'alice');
UPDATE orders SET note = 'mine' RETURNING id;
DELETE FROM orders RETURNING id;

-- FOR INSERT with a check.
\c - postgres
CREATE POLICY add ON orders FOR INSERT WITH CHECK (jit_active('orders', customer_id));
\c - alice
INSERT INTO orders VALUES (10, 2, 'alice') RETURNING *;
INSERT INTO orders VALUES (11, 3, 'alice');
INSERT INTO orders VALUES (11, NULL, 'alice');
INSERT INTO orders VALUES (10, 2, 'alice') ON CONFLICT DO NOTHING;

-- FOR UPDATE: a row can neither be taken from elsewhere nor be moved out.
\c - postgres
CREATE POLICY change ON orders FOR UPDATE USING (jit_active('orders', customer_id)) WITH CHECK (jit_active('orders', customer_id));
\c - alice
UPDATE orders SET note = 'changed' RETURNING id, customer_id;
UPDATE orders SET customer_id = 3 WHERE id = 2;
UPDATE orders SET note = 'stolen' WHERE customer_id = 3 RETURNING id;
INSERT INTO orders VALUES (10, 2, 'alice') ON CONFLICT (id) DO UPDATE SET note = 'again' RETURNING note;

-- FOR DELETE.
\c - postgres
CREATE POLICY remove ON orders FOR DELETE USING (jit_active('orders', customer_id));
\c - alice
DELETE FROM orders WHERE id IN (1, 10) RETURNING id;
-- MERGE, with all of them.
MERGE INTO orders o USING (VALUES (6), (7), (12)) v (id) ON o.id = v.id
 WHEN MATCHED THEN UPDATE SET note = 'merged' WHEN NOT MATCHED AND v.id = 12 THEN INSERT VALUES (12, 2, 'alice', 'merged');
SELECT * FROM orders ORDER BY id;
\c - carol
UPDATE orders SET note = 'carol was here' RETURNING id;
DELETE FROM orders RETURNING id;
INSERT INTO orders VALUES (13, 2, 'carol');

-- FOR ALL in one policy.
\c - postgres
DROP POLICY see ON orders; DROP POLICY add ON orders; DROP POLICY change ON orders; DROP POLICY remove ON orders;
CREATE POLICY jit ON orders USING (jit_active('orders', customer_id));
\c - alice
SELECT count(*) FROM orders;
INSERT INTO orders VALUES (13, 3, 'alice');
UPDATE orders SET note = 'all' WHERE id = 12 RETURNING id;
DELETE FROM orders WHERE id = 12 RETURNING id;

-- A permissive policy beside ours: either opens a row.
\c - postgres
CREATE POLICY own ON orders USING (owner = current_user);
\c - frank
SELECT id FROM orders ORDER BY id;
\c - alice
SELECT id FROM orders ORDER BY id;
-- The same in one expression.
\c - postgres
DROP POLICY own ON orders; DROP POLICY jit ON orders;
CREATE POLICY either ON orders USING (owner = current_user OR jit_active('orders', customer_id));
\c - frank
SELECT id FROM orders ORDER BY id;
\c - alice
SELECT id FROM orders ORDER BY id;
-- NOT: the rows that are not covered. That of no customer is among them, since the answer is never NULL.
\c - postgres
ALTER POLICY either ON orders USING (NOT jit_active('orders', customer_id));
\c - alice
SELECT id, customer_id FROM orders ORDER BY id;

-- Restrictive: ours narrows what another policy opens.
\c - postgres
DROP POLICY either ON orders;
CREATE POLICY everybody ON orders USING (true);
CREATE POLICY jit ON orders AS RESTRICTIVE USING (jit_active('orders', customer_id));
\c - alice
SELECT id FROM orders ORDER BY id;
\c - frank
SELECT id FROM orders ORDER BY id;
-- A policy for one role.
\c - postgres
DROP POLICY everybody ON orders; DROP POLICY jit ON orders;
CREATE POLICY jit ON orders TO security USING (jit_active('orders', customer_id));
\c - alice
SELECT id FROM orders ORDER BY id;
\c - postgres
ALTER POLICY jit ON orders TO support;
\c - alice
SELECT id FROM orders ORDER BY id;

-- A scope without keys: all rows or none.
\c - postgres
CREATE TABLE ledger (id int, amount int);
INSERT INTO ledger SELECT i, i FROM generate_series(1, 5) i;
ALTER TABLE ledger ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON ledger USING (jit_active('ledger'));
GRANT ALL ON ledger TO PUBLIC;
\c - alice
SELECT count(*) FROM ledger;
SELECT jit_request('ledger', 'audit') AS audit \gset
\c - bob
SELECT jit_approve(:audit);
\c - alice
SELECT count(*) FROM ledger;

-- Joins and subqueries: each table by its own policy.
SELECT o.id, l.amount FROM orders o JOIN ledger l ON l.id = o.id ORDER BY 1;
SELECT l.id, o.id AS order_id FROM ledger l LEFT JOIN orders o ON o.id = l.id ORDER BY 1;
SELECT l.id FROM ledger l WHERE EXISTS (SELECT FROM orders o WHERE o.id = l.id) ORDER BY 1;
SELECT l.id FROM ledger l WHERE l.id NOT IN (SELECT o.id FROM orders o) ORDER BY 1;
SELECT customer_id, count(*), max(note) FROM orders GROUP BY customer_id;
\c - carol
SELECT l.id, o.id AS order_id FROM ledger l FULL JOIN orders o ON o.id = l.id ORDER BY 1;

-- A partitioned table, whose policy binds whoever reads through it, and a partition with one of its own.
\c - postgres
CREATE TABLE parts (id int, customer_id int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (50);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (50) TO (100);
INSERT INTO parts SELECT i, i % 4 FROM generate_series(1, 99) i;
ALTER TABLE parts ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON parts USING (jit_active('orders', customer_id));
ALTER TABLE parts_1 ENABLE ROW LEVEL SECURITY;
CREATE POLICY jit ON parts_1 USING (jit_active('orders', customer_id));
GRANT ALL ON parts, parts_1 TO PUBLIC;
\c - alice
SELECT tableoid::regclass, customer_id, count(*) FROM parts GROUP BY 1, 2 ORDER BY 1;
SELECT customer_id, count(*) FROM parts_1 GROUP BY 1;
UPDATE parts SET id = id + 50 WHERE id = 2 RETURNING tableoid::regclass, id;
\c - carol
SELECT count(*) FROM parts;
SELECT count(*) FROM parts_1;
SELECT count(*) FROM parts_2;

-- A view with security_invoker shows what its reader may see. The owner's rights do not help.
\c - postgres
CREATE VIEW invoker WITH (security_invoker) AS SELECT * FROM orders;
CREATE VIEW plain AS SELECT * FROM orders;
GRANT SELECT ON invoker, plain TO PUBLIC;
\c - alice
SELECT count(*) FROM invoker;
\c - carol
SELECT count(*) FROM invoker;
-- A plain view reads as its owner: here a superuser, whom no policy binds.
SELECT count(*) FROM plain;
-- Owned by somebody whom policies bind, it shows the rows of whoever reads it: the check asks for the actor.
\c - postgres
ALTER VIEW plain OWNER TO support;
\c - alice
SELECT count(*) FROM plain;
\c - carol
SELECT count(*) FROM plain;

-- Prepared statements, custom and generic plans: a revocation shows at the next execution.
\c - alice
SET plan_cache_mode = force_generic_plan;
PREPARE seen AS SELECT count(*) FROM orders;
PREPARE of_customer (int) AS SELECT count(*) FROM orders WHERE customer_id = $1;
EXECUTE seen;
EXECUTE of_customer (2);
EXECUTE of_customer (3);
SELECT jit_release(:request);
EXECUTE seen;
EXECUTE of_customer (2);

-- A policy with a key of the wrong family is an error to all, with the cast to write.
\c - postgres
ALTER POLICY jit ON orders TO PUBLIC USING (jit_active('orders', owner));
\c - carol
SELECT count(*) FROM orders;
-- A policy that names an unknown scope shows nobody a row.
\c - postgres
ALTER POLICY jit ON orders USING (jit_active('ordres', customer_id));
\c - carol
SELECT count(*) FROM orders;
-- The owner of a table passes its policies by, unless they are forced.
\c - postgres
ALTER TABLE orders OWNER TO frank;
\c - frank
SELECT count(*) FROM orders;
ALTER TABLE orders FORCE ROW LEVEL SECURITY;
SELECT count(*) FROM orders;
