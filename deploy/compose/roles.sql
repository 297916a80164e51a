-- The roles of the compose file, made when its database is: the program's, which owns the database
-- and is no superuser, and the reader's, which SQL of the web page has.

\set ON_ERROR_STOP on
\if :{?secrets}
\else
  \set secrets /run/secrets
\endif
\setenv SECRETS :secrets

\set password `cat "$SECRETS/database_password"`
CREATE ROLE intu LOGIN PASSWORD :'password';
SELECT format('ALTER DATABASE %I OWNER TO intu', current_database()) \gexec

\set password `cat "$SECRETS/reader_password"`
CREATE ROLE intu_reader LOGIN PASSWORD :'password';
