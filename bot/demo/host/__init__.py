"""The embedded video host, for the demo, the tests and machines without a network: Livepeer's wire format.

Rooms: `server` (the listener), `api` (assets and playback), `payloads` (what a request may hold), `uploads` (TUS and
direct), `store` (assets and their phases, on disk), `phases` (from bytes to a playable video), `media` (PyAV),
`pages` (files and the watch page), `webhooks` (notices of what becomes of assets), `config` (times and limits),
`faults` (faults on demand), `refusals` (answers that say no).
"""

from bot.demo.host.config import Fault, Faults, HostConfig
from bot.demo.host.server import EmbeddedHost

__all__ = ["EmbeddedHost", "Fault", "Faults", "HostConfig"]
