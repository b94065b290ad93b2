"""The comparison of our rows with what others hold: reactions, wallet entries on the ledger, view counts."""
