"""The findings of an audit as people and programs read them."""
