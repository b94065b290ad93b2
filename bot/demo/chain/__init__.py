"""The embedded chain: a real EVM (py-evm) behind JSON-RPC, in its own process."""
