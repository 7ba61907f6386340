-- Names in this script are looked up in pg_catalog alone, so that nothing in the
-- installing user's search_path can take their place (CVE-2018-1058). What goes to
-- the schema of the extension is written with its name.
SET LOCAL search_path = pg_catalog, pg_temp;
-- The check reads heap tuples itself.
SET LOCAL default_table_access_method = heap;

-- A function called jit_active(text, int) that somebody else can create beside ours
-- would be found first by policies with an int key: the everyday functions must live
-- where PUBLIC cannot create anything.
DO $check$
BEGIN
    IF getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'feature_not_supported',
            MESSAGE = format('jit_rls needs a database in UTF8, and this one is in %s', getdatabaseencoding()),
            HINT = 'CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0.';
    END IF;
    IF has_schema_privilege('public', '@extschema@'::regnamespace, 'CREATE') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = format('jit_rls cannot be installed into schema %s: everybody may create objects in it',
                             '@extschema@'::regnamespace),
            DETAIL = 'A look-alike of jit_active() in that schema would decide who sees rows.',
            HINT = 'Either REVOKE CREATE ON SCHEMA @extschema@ FROM PUBLIC, or CREATE SCHEMA of its own and CREATE EXTENSION jit_rls SCHEMA that_schema.';
    END IF;
END
$check$;

CREATE SCHEMA jit;
COMMENT ON SCHEMA jit IS 'jit_rls: administration and views of just-in-time access';

-- The tables stand apart, where nobody may look up a name: CREATE RULE, CREATE TRIGGER and
-- REFERENCES lock the table that they name before they ask for a privilege on it
-- (DefineQueryRewrite(), CreateTrigger(), ATAddForeignKeyConstraint()), and such a lock, waiting
-- behind somebody's open transaction, would hold up every revocation. For the same reason, no
-- foreign keys: they lock rows, and under REPEATABLE READ they miss what has just committed.
CREATE SCHEMA jit_private;
COMMENT ON SCHEMA jit_private IS 'jit_rls: its tables; read them through the views of schema jit';

-- Not dumped: a restored database gets a new id, and grants made under the old one
-- are void (see jit.origin()).
CREATE TABLE jit_private.installation (
    id  uuid NOT NULL DEFAULT gen_random_uuid(),
    one boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (one)
);
INSERT INTO jit_private.installation DEFAULT VALUES;
COMMENT ON TABLE jit_private.installation IS 'one row: what grants of this installation are bound to; never dumped';

CREATE TABLE jit_private.scopes (
    id               integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name             text NOT NULL CHECK (name COLLATE "C" ~ '^[a-z0-9_.-]{1,63}$'),
    description      text,
    key_type         text CHECK (key_type IN ('smallint', 'int', 'bigint', 'uuid', 'text')),
    allow_all_rows   boolean NOT NULL,
    anyone_may_ask   boolean NOT NULL,
    default_duration interval NOT NULL,
    max_duration     interval NOT NULL,
    max_total        interval,
    max_ahead        interval NOT NULL,
    pending_ttl      interval NOT NULL,
    reason_pattern   text,
    max_pending      integer NOT NULL CHECK (max_pending > 0),
    max_grants       integer NOT NULL CHECK (max_grants > 0),
    denial_pause     interval NOT NULL,
    auto_approve     jsonb,
    validate         jsonb,
    break_glass_max  interval NOT NULL,
    review_within    interval NOT NULL,
    break_glass_block_overdue boolean NOT NULL,
    on_end           text NOT NULL CHECK (on_end IN ('cancel', 'terminate', 'none')),
    enabled          boolean NOT NULL,
    epoch            bigint NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL,
    dropped_at       timestamptz
);
-- The name of a dropped scope is free again.
CREATE UNIQUE INDEX scopes_name ON jit_private.scopes (name) WHERE dropped_at IS NULL;
COMMENT ON TABLE jit_private.scopes IS 'what access is asked for, with its rules; a dropped scope stays for the record';
COMMENT ON COLUMN jit_private.scopes.auto_approve IS
    'the function that may approve in the place of people, pinned: name, owner and a hash of its definition';
COMMENT ON COLUMN jit_private.scopes.validate IS 'the function that may refuse a request, pinned in the same way';
COMMENT ON COLUMN jit_private.scopes.epoch IS
    'raised when the scope is disabled or dropped: requests and grants of an older epoch are dead, also those whose transaction had not committed by then';

CREATE TABLE jit_private.approvers (
    scope_id integer NOT NULL,
    stage    integer NOT NULL CHECK (stage BETWEEN 1 AND 10),
    role     text NOT NULL,
    role_id  oid NOT NULL,
    people   integer NOT NULL CHECK (people BETWEEN 1 AND 100),
    origin   text NOT NULL
);
CREATE INDEX approvers_scope ON jit_private.approvers (scope_id);
COMMENT ON TABLE jit_private.approvers IS 'how many people of which role must say yes in which stage of a scope';

CREATE TABLE jit_private.requesters (
    scope_id integer NOT NULL,
    role     text NOT NULL,
    role_id  oid NOT NULL,
    origin   text NOT NULL
);
CREATE INDEX requesters_scope ON jit_private.requesters (scope_id);
COMMENT ON TABLE jit_private.requesters IS 'who may ask in a scope whose anyone_may_ask is false';

CREATE TABLE jit_private.break_glass (
    scope_id integer NOT NULL,
    role     text NOT NULL,
    role_id  oid NOT NULL,
    origin   text NOT NULL
);
CREATE INDEX break_glass_scope ON jit_private.break_glass (scope_id);
COMMENT ON TABLE jit_private.break_glass IS 'who may take access in a scope at once, to be reviewed afterwards';

-- By the name of the scope, which outlives the scope. Not dumped: elsewhere, the roles mean nothing.
CREATE TABLE jit_private.rule_changes (
    scope  text NOT NULL,
    at     timestamptz NOT NULL,
    until  timestamptz NOT NULL,
    person oid[] NOT NULL
);
CREATE INDEX rule_changes_scope ON jit_private.rule_changes (scope, until);
COMMENT ON TABLE jit_private.rule_changes IS
    'who has changed the rules of a scope, and until when they neither ask, nor are served by what is approved, nor approve there';

CREATE TABLE jit_private.requests (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope_id   integer NOT NULL,
    scope      text NOT NULL,
    key        text,
    all_rows   boolean NOT NULL,
    grantee    text NOT NULL,
    grantee_id oid NOT NULL,
    login      text NOT NULL,
    login_id   oid NOT NULL,
    actor      text NOT NULL,
    actor_id   oid NOT NULL,
    person     oid[] NOT NULL,
    reason     text NOT NULL,
    duration   interval NOT NULL,
    starts_at  timestamptz,
    state      text NOT NULL DEFAULT 'pending'
               CHECK (state IN ('pending', 'approved', 'denied', 'cancelled', 'lapsed', 'closed')),
    created_at timestamptz NOT NULL,
    lapses_at  timestamptz NOT NULL,
    decided_at timestamptz,
    decided_by text,
    epoch      bigint NOT NULL,
    rules      jsonb NOT NULL,
    origin     text NOT NULL,
    extends    bigint,
    break_glass  boolean NOT NULL DEFAULT false,
    review_due   timestamptz,
    reviewed_at  timestamptz,
    escalated_at timestamptz
);
-- One pending request for each person, grantee, scope and key. A row that a restore
-- has emptied of its person is left out: it must not keep others from loading.
CREATE UNIQUE INDEX requests_one_pending
    ON jit_private.requests ((person[1]), grantee_id, scope_id, all_rows, coalesce(key, ''), coalesce(extends, 0))
    WHERE state = 'pending' AND person <> '{}';
CREATE INDEX requests_lapsing ON jit_private.requests (lapses_at) WHERE state = 'pending';
CREATE INDEX requests_denied ON jit_private.requests ((person[1]), scope_id, decided_at) WHERE state = 'denied';
CREATE INDEX requests_to_review ON jit_private.requests (review_due) WHERE review_due IS NOT NULL AND reviewed_at IS NULL;
CREATE INDEX requests_scope ON jit_private.requests (scope_id);
COMMENT ON TABLE jit_private.requests IS 'who asked for what, why, and what became of it';
COMMENT ON COLUMN jit_private.requests.person IS 'login and actor without shared logins: the set that tells whether two acts are one person''s';
COMMENT ON COLUMN jit_private.requests.rules IS 'the rules of the scope when this was asked; the stricter of these and today''s apply';
COMMENT ON COLUMN jit_private.requests.extends IS 'the grant that this asks to lengthen';
COMMENT ON COLUMN jit_private.requests.review_due IS 'of access that was taken by break-glass: until when approvers have to review it';
COMMENT ON COLUMN jit_private.requests.escalated_at IS 'when the event was written that nobody has reviewed it in time';
COMMENT ON COLUMN jit_private.requests.origin IS 'the database it was made in, see jit.origin(); void elsewhere';

CREATE TABLE jit_private.reviews (
    id         bigint NOT NULL GENERATED ALWAYS AS IDENTITY (CYCLE),
    request_id bigint NOT NULL,
    at         timestamptz NOT NULL,
    decision   text NOT NULL CHECK (decision IN ('approve', 'deny', 'justified', 'unjustified')),
    login      text NOT NULL,
    login_id   oid NOT NULL,
    actor      text NOT NULL,
    actor_id   oid NOT NULL,
    person     oid[] NOT NULL,
    stage      integer,
    roles      text[] NOT NULL,
    paths      text[] NOT NULL,
    comment    text,
    duration   interval
);
-- The id is not unique, see jit_private.events.
CREATE INDEX reviews_request ON jit_private.reviews (request_id);
COMMENT ON TABLE jit_private.reviews IS 'each yes and no, by whom, in which stage, by which approver roles and through which memberships';

CREATE TABLE jit_private.grants (
    id          bigint PRIMARY KEY,
    scope_id    integer NOT NULL,
    scope       text NOT NULL,
    key         text,
    all_rows    boolean NOT NULL,
    grantee     text NOT NULL,
    grantee_id  oid NOT NULL,
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL,
    approved_by oid[] NOT NULL,
    epoch       bigint NOT NULL,
    origin      text NOT NULL,
    asked_by    oid[],
    tidied_at   timestamptz,
    CHECK (ends_at > starts_at)
);
-- What a check loads: the grants of a role that nobody has tidied away yet.
CREATE INDEX grants_live ON jit_private.grants (grantee_id) WHERE tidied_at IS NULL;
CREATE INDEX grants_starting ON jit_private.grants (starts_at) WHERE asked_by IS NOT NULL AND tidied_at IS NULL;
CREATE INDEX grants_due ON jit_private.grants (ends_at, id) WHERE tidied_at IS NULL;
CREATE INDEX grants_scope ON jit_private.grants (scope_id) WHERE tidied_at IS NULL;
-- Whether anybody holds every row of a scope: the planner asks.
CREATE INDEX grants_all_rows ON jit_private.grants (scope_id) WHERE all_rows AND tidied_at IS NULL;
COMMENT ON TABLE jit_private.grants IS 'the access that approved requests became; the id is the request''s';
COMMENT ON COLUMN jit_private.grants.approved_by IS 'logins and actors of the approvers, whom the grant never serves';
COMMENT ON COLUMN jit_private.grants.asked_by IS
    'of a scheduled grant until the worker has seen at its start that these may still ask: it serves nobody otherwise';
COMMENT ON COLUMN jit_private.grants.tidied_at IS 'set by the worker once an ending has committed, to keep the index of live grants small';

-- Append-only, without a unique constraint: two endings of one grant never wait for each other; the
-- earliest counts. Without a sequence: whoever may write every sequence (pg_write_all_data) could
-- exhaust it, and no grant could end any more.
CREATE TABLE jit_private.endings (
    grant_id bigint NOT NULL,
    at       timestamptz NOT NULL,
    kind     text NOT NULL CHECK (kind IN ('expired', 'revoked', 'released', 'scope disabled', 'scope dropped', 'ineligible')),
    login    text,
    actor    text,
    reason   text
);
CREATE INDEX endings_grant ON jit_private.endings (grant_id);
COMMENT ON TABLE jit_private.endings IS 'why and when grants stopped; append-only';

CREATE TABLE jit_private.events (
    id         bigint NOT NULL GENERATED ALWAYS AS IDENTITY (CYCLE),
    at         timestamptz NOT NULL,
    kind       text NOT NULL,
    request_id bigint,
    scope      text,
    login      text,
    actor      text,
    details    jsonb NOT NULL
);
-- Not unique, and its sequence begins again at its end, for the same reason.
CREATE INDEX events_id ON jit_private.events (id);
CREATE INDEX events_request ON jit_private.events (request_id);
COMMENT ON TABLE jit_private.events IS 'the audit log: one row for each change of state, in the transaction of the change; append-only';

-- Emptied by the worker as it notifies; filled only where there is a worker. Not dumped.
CREATE TABLE jit_private.outbox (
    event_id bigint NOT NULL
);
CREATE INDEX outbox_event ON jit_private.outbox (event_id);
COMMENT ON TABLE jit_private.outbox IS 'events that the worker has not yet announced with NOTIFY jit_rls';

-- Holds nothing. Changes of grants, endings and scopes invalidate its relcache entry,
-- which tells every backend that its copy of the grants is stale, without making our own
-- statements on jit_private.grants be planned anew.
CREATE TABLE jit_private.marker ();
COMMENT ON TABLE jit_private.marker IS 'empty; its relcache entry is the signal that grants have changed';

-- The same for plans: those that are only right as long as nobody else holds all rows of a scope.
CREATE TABLE jit_private.plan_marker ();
COMMENT ON TABLE jit_private.plan_marker IS 'empty; its relcache entry is the signal that plans must be made anew';

-- Rows are nobody's but the owner's, whatever privileges somebody has on every table of the
-- database: pg_read_all_data sees none, and cannot lock one with SELECT FOR UPDATE.
DO $rls$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['installation', 'scopes', 'approvers', 'requesters', 'break_glass', 'rule_changes', 'requests', 'reviews',
                             'grants', 'endings', 'events', 'outbox', 'marker', 'plan_marker'] LOOP
        EXECUTE format('ALTER TABLE jit_private.%I ENABLE ROW LEVEL SECURITY', t);
    END LOOP;
END
$rls$;
