-- The schema as an earlier version may have been: it announces every commit, unconditionally, and
-- knows neither origin nor horizon. Migrating has to make a current one of it.
CREATE SCHEMA pgbarrier;

CREATE TABLE pgbarrier.barrier (
	id  uuid PRIMARY KEY,
	xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE FUNCTION pgbarrier.version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 0';

CREATE FUNCTION pgbarrier.create(announce boolean DEFAULT true) RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER
AS $$ INSERT INTO pgbarrier.barrier (id) VALUES (gen_random_uuid()) RETURNING id::text $$;

CREATE FUNCTION pgbarrier.announce() RETURNS trigger
LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('pgbarrier', NEW.id::text); RETURN NULL; END $$;

CREATE TRIGGER announce AFTER INSERT ON pgbarrier.barrier
	FOR EACH ROW EXECUTE FUNCTION pgbarrier.announce();

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgbarrier FROM PUBLIC;
