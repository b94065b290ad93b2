"""All that members see: Components V2 layouts, built by pure functions from domain objects."""
