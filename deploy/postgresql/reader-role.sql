-- A role that can read the views of the staging database and nothing else.
--
--   psql --dbname=intu --variable=reader=intu_reader --file=reader-role.sql
--   psql --dbname=intu --command='\password intu_reader'
--
-- With --variable=tables=yes it reads the tables as well, but neither the audit trail nor the tokens:
-- that is the role for web.sql.database.
--
-- Run it as a superuser: an owner may give no other role its settings. Run it again after an
-- upgrade: new views and tables are added, nothing else changes.

\set ON_ERROR_STOP on
\if :{?reader}
\else
  \set reader intu_reader
\endif

SELECT format('CREATE ROLE %I LOGIN', :'reader')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'reader') \gexec

BEGIN;

-- What an older recipe may have given it, and what a database gives to everybody.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM :"reader";
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM :"reader";
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
SELECT format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()) \gexec

SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), :'reader') \gexec
GRANT USAGE ON SCHEMA public TO :"reader";
SELECT format('GRANT SELECT ON public.%I TO %I', viewname, :'reader')
FROM pg_views
WHERE schemaname = 'public' AND viewname LIKE 'v\_%'
ORDER BY viewname \gexec

\if :{?tables}
SELECT format('GRANT SELECT ON public.%I TO %I', tablename, :'reader')
FROM pg_tables
WHERE schemaname = 'public' AND tablename NOT IN ('audit_events', 'api_tokens', 'alembic_version')
ORDER BY tablename \gexec
\endif

-- No query of a reader may hold the receiver up for long.
ALTER ROLE :"reader" SET default_transaction_read_only = on;
ALTER ROLE :"reader" SET statement_timeout = '60s';
ALTER ROLE :"reader" SET idle_in_transaction_session_timeout = '60s';

COMMIT;
