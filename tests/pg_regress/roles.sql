-- The people of the tests. Roles belong to the cluster, so this runs once, before any test.
-- Nobody here is a superuser, and none may skip row-level security.
CREATE ROLE support;
CREATE ROLE support_lead;
CREATE ROLE security;
CREATE ROLE oncall;
CREATE ROLE alice LOGIN IN ROLE support;
CREATE ROLE carol LOGIN IN ROLE support;
CREATE ROLE bob LOGIN IN ROLE support_lead;
CREATE ROLE dave LOGIN IN ROLE support_lead;
CREATE ROLE erin LOGIN IN ROLE security;
CREATE ROLE frank LOGIN;
-- A login that an application's connection pool would share.
CREATE ROLE pooler LOGIN;
