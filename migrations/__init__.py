"""The schema: every table, how a database is opened and upgraded, leases. Imports nothing of ours."""
