"""The demo's page: a small Discord in the browser, with a look behind the scenes."""
