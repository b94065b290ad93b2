-- A PostgreSQL role for workers, which can neither write a vote, a round or the outbox, nor read feedback and reports.
-- Run once as the database's owner, after the bot has been started for the first time (it makes the engine's tables):
--
--   psql "$FLOCK_DATABASE_URL" -v password="'…'" -f docs/worker-role.sql
--
-- or, in containers: docker compose exec -T postgres psql -U flock flock -v password="'…'" < docs/worker-role.sql
--
-- The workers' FLOCK_DATABASE_URL then names flock_worker. Run it again after an upgrade of FLock: it is safe to repeat,
-- and only the owner can upgrade the schema, so upgrade the bot first.
SELECT 'CREATE ROLE flock_worker LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'flock_worker') \gexec
ALTER ROLE flock_worker PASSWORD :password;

-- Which jobs there are, and whether their members still want them.
GRANT SELECT ON alembic_version TO flock_worker;
GRANT SELECT (id, cancel_requested) ON videos TO flock_worker;
-- What was rendered goes to a bot on another machine: to be written while the bot waits for it, and never read.
GRANT SELECT (video_id, sha256, part), INSERT ON original_parts TO flock_worker;
-- The adapters of releases come through the database, and so do the list of examples that a training learns from, and
-- the adapter that was tuned here, while the bot waits for it.
GRANT SELECT ON adapters TO flock_worker;
GRANT SELECT, INSERT ON adapter_parts TO flock_worker;
-- How a job comes along, and who is alive.
GRANT SELECT, INSERT, UPDATE ON render_progress, upload_urls, workflow_attempts TO flock_worker;
GRANT SELECT ON render_timings TO flock_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON executor_leases, leases, workers TO flock_worker;
-- Of leases only the workers' own: the relayer's and the bot's are out of sight and out of reach.
ALTER TABLE leases ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS flock_worker ON leases;
CREATE POLICY flock_worker ON leases TO flock_worker USING (name LIKE 'worker%');
ALTER TABLE executor_leases ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS flock_worker ON executor_leases;
CREATE POLICY flock_worker ON executor_leases TO flock_worker USING (role = 'worker');

-- The durable engine's own tables: the rows of workers' jobs, and none of the bot's workflows. A job is made by the bot
-- alone; a worker can neither make one, nor give one another id or program, nor put it into a queue of the bot's.
REVOKE ALL ON ALL TABLES IN SCHEMA dbos FROM flock_worker;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA dbos FROM flock_worker;
GRANT USAGE ON SCHEMA dbos TO flock_worker;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA dbos TO flock_worker;

CREATE OR REPLACE FUNCTION dbos.flock_is_queue_of_workers(queue text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN queue LIKE 'gpu.%' OR queue LIKE 'train.%' OR queue LIKE 'upload.%';
CREATE OR REPLACE FUNCTION dbos.flock_is_program_of_workers(program text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN program IN ('render_video', 'upload_video', 'send_original', 'train_candidate', 'send_candidate', 'make_filmstrip');
-- It reads with the owner's rights: the policy of a table cannot ask that table itself.
CREATE OR REPLACE FUNCTION dbos.flock_is_job_of_workers(id text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
    AS $$ SELECT EXISTS (SELECT FROM dbos.workflow_status
                         WHERE workflow_uuid = id AND dbos.flock_is_program_of_workers(name)) $$;
CREATE OR REPLACE FUNCTION dbos.flock_is_version(name text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
    AS $$ SELECT EXISTS (SELECT FROM dbos.application_versions WHERE version_name = name) $$;
REVOKE ALL ON FUNCTION dbos.flock_is_queue_of_workers, dbos.flock_is_program_of_workers, dbos.flock_is_job_of_workers,
    dbos.flock_is_version FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.flock_is_queue_of_workers, dbos.flock_is_program_of_workers,
    dbos.flock_is_job_of_workers, dbos.flock_is_version TO flock_worker;

DO $$
DECLARE
    each record;
    columns text;
BEGIN
    FOR each IN SELECT c.relname AS name FROM pg_class c WHERE c.relnamespace = 'dbos'::regnamespace AND c.relkind = 'r'
    LOOP
        EXECUTE format('ALTER TABLE dbos.%I ENABLE ROW LEVEL SECURITY', each.name);
        EXECUTE format('DROP POLICY IF EXISTS flock_worker ON dbos.%I', each.name);
        EXECUTE format('DROP POLICY IF EXISTS flock_worker_insert ON dbos.%I', each.name);
    END LOOP;

    -- What a worker may change of a job: not its id, its program or what it was asked for.
    SELECT string_agg(quote_ident(column_name), ', ') INTO columns FROM information_schema.columns
    WHERE table_schema = 'dbos' AND table_name = 'workflow_status' AND column_name NOT IN (
        'workflow_uuid', 'name', 'class_name', 'config_name', 'inputs', 'creator_xid', 'created_at',
        'parent_workflow_id', 'forked_from', 'schedule_name');
    EXECUTE 'GRANT SELECT, INSERT ON dbos.workflow_status TO flock_worker';
    EXECUTE format('GRANT UPDATE (%s) ON dbos.workflow_status TO flock_worker', columns);
    EXECUTE 'CREATE POLICY flock_worker ON dbos.workflow_status TO flock_worker
        USING (dbos.flock_is_program_of_workers(name))
        WITH CHECK (dbos.flock_is_program_of_workers(name)
            AND (queue_name IS NULL OR dbos.flock_is_queue_of_workers(queue_name)))';
    -- The engine writes the row of a job once more when it begins; a row that is not there yet cannot be made.
    EXECUTE 'CREATE POLICY flock_worker_insert ON dbos.workflow_status AS RESTRICTIVE FOR INSERT TO flock_worker
        WITH CHECK (dbos.flock_is_job_of_workers(workflow_uuid))';

    -- What a job was asked for, is read; what it says, at each step and at its end, is written.
    FOR each IN SELECT table_name AS name, string_agg(column_name, ',') FILTER (WHERE column_name LIKE '%_uuid') AS ids
        FROM information_schema.columns WHERE table_schema = 'dbos' AND table_name IN (
            'workflow_input', 'workflow_output', 'operation_outputs', 'workflow_events', 'workflow_events_history',
            'streams', 'notifications')
        GROUP BY table_name
    LOOP
        EXECUTE format('GRANT SELECT ON dbos.%I TO flock_worker', each.name);
        IF each.name IN ('workflow_output', 'operation_outputs') THEN
            EXECUTE format('GRANT INSERT, UPDATE, DELETE ON dbos.%I TO flock_worker', each.name);
        END IF;
        EXECUTE format('CREATE POLICY flock_worker ON dbos.%I TO flock_worker USING (dbos.flock_is_job_of_workers(%I))',
            each.name, CASE each.name WHEN 'notifications' THEN 'destination_uuid' ELSE 'workflow_uuid' END);
    END LOOP;

    -- The queues that workers serve, which they register, and what the engine looks at when it starts.
    EXECUTE 'GRANT SELECT, INSERT, UPDATE ON dbos.queues TO flock_worker';
    EXECUTE 'CREATE POLICY flock_worker ON dbos.queues TO flock_worker USING (dbos.flock_is_queue_of_workers(name))';
    EXECUTE 'GRANT SELECT ON dbos.dbos_migrations, dbos.workflow_schedules TO flock_worker';
    EXECUTE 'CREATE POLICY flock_worker ON dbos.dbos_migrations FOR SELECT TO flock_worker USING (true)';
    -- Each process names its version when it starts; a version that the bot has not named would stop the bot's work.
    EXECUTE 'GRANT SELECT, INSERT, UPDATE (application_name) ON dbos.application_versions TO flock_worker';
    EXECUTE 'CREATE POLICY flock_worker ON dbos.application_versions FOR SELECT TO flock_worker USING (true)';
    EXECUTE 'CREATE POLICY flock_worker_insert ON dbos.application_versions FOR INSERT TO flock_worker
        WITH CHECK (dbos.flock_is_version(version_name))';
END $$;
