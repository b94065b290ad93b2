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
-- The durable engine's own tables.
GRANT USAGE ON SCHEMA dbos TO flock_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dbos TO flock_worker;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA dbos TO flock_worker;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA dbos TO flock_worker;
