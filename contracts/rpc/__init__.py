"""JSON-RPC to one or several chain nodes."""
