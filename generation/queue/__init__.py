"""The durable queue (DBOS Transact) that bot and workers share."""
