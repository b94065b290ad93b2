"""The shapes of credentials, for those that no setting holds: tokens made at run time, and what libraries quote.

A shape is a name that says so (`password=`, `X-Amz-Signature=`), a place (after `://user:`, after `#`), or a form that
nothing else has (a web token). Hashes are what a log is read for: 64 digits are hidden only behind a word that calls
them a key or a secret. Each pattern keeps its group `kept` and hides the rest, in a time that grows with the text.
"""

from __future__ import annotations

import re

# A name that ends in one of these holds a credential, whatever stands before it: X-Amz-Signature, FLOCK_VOTER_PEPPER.
_NAME = (
    r"(?:token|secret|passw(?:or)?d|passphrase|pepper|mnemonic|signature|credential|authorization|cookie"
    r"|(?<![A-Za-z0-9])(?:sig|pwd|sas)"
    r"|(?:api|access|private|secret|account|shared|signing|encryption)[ _-]?(?:access[ _-]?)?key)"
)
_QUOTED = r"""b?(?:'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")"""
_NO_HASH = r"(?:(?!hash|sha|transaction|\btx\b|root|digest)[^\n]){0,40}?"

_SHAPES = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL if loose else re.DOTALL)
    for loose, pattern in (
        # A key in a file of its own, whole or cut.
        (
            False,
            r"(?P<kept>-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----)(?:.{0,8000}?(?=-----END)|(?:\\[nr]|[A-Za-z0-9+/=\s])*)",
        ),
        # Addresses: the token of an interaction, an upload, a password, a page's token behind #, a chain node's key.
        (False, r"(?P<kept>/interactions/\d+/|/webhooks/\d+/)[^\s/?\"'<>]+"),
        (False, r"(?P<kept>/upload/(?:tus|direct)/)[^\s\"'<>]+"),
        (False, r"(?P<kept>://[^\s/:@\"'<>]*:)(?!\d{1,5}(?:[/?#\s]|$))[^\s\"'<>]{1,200}(?=@)"),
        (False, r"(?P<kept>://)[^\s/:@\"'<>]{20,200}(?=@)"),
        (False, r"(?P<kept>/sign#|://[^\s\"'<>#]{1,500}#(?=[\w.~+/=-]*[A-Z0-9]))[A-Za-z0-9_~.+/=-]{16,}"),
        (False, r"(?P<kept>/v\d/)[A-Za-z0-9_-]{32,}"),
        (True, r"(?P<kept>[?&](?:key|code)=)[^\s&\"'<>]+"),
        # Custom ids of Discord that carry a request's token.
        (False, r"(?P<kept>\bw1:(?:paste|signature):)[\w-]+"),
        # Headers: a scheme and what follows it, whatever the header is called.
        (True, rf"(?P<kept>\bauthorization[\"']?\s*[:=,]\s*)(?:{_QUOTED}|(?:[A-Z][\w-]*\s+)?[^\s\"']+)"),
        (False, r"(?P<kept>\b(?:[Bb]earer|[Bb]asic|Bot|Token)\s+)[A-Za-z0-9._~+/=-]{16,}"),
        # Names: in an address or a libpq string, in an object of JSON or Python, in a header's line or pair.
        (True, rf"(?P<kept>{_NAME}\s*(?:=|%3D)\s*)(?:{_QUOTED}|[\"']?[^\s&\"'<>,;)]+)"),
        (True, rf"(?P<kept>{_NAME}[\"']\s*[:,]\s*){_QUOTED}"),
        (True, rf"(?P<kept>{_NAME}\\+[\"']\s*[:,]\s*\\+[\"'])[^\"'\\]+"),
        (True, rf"(?P<kept>{_NAME}\s*:\s*)(?=[^\s\"',]*\d)[^\s\"',;]{{16,}}"),
        # 32 bytes of a private key, a pepper or a seed: in hex they look like a hash, so the words before them count.
        (
            True,
            rf"(?P<kept>(?:(?:private|secret|signing|relayer|master)[ _-]?key|secret|pepper|seed|passphrase|password)"
            rf"{_NO_HASH}(?<![0-9a-f])|\bkey[\"']?\s*(?:is|was|[:=,])?\s*b?[\"']?)(?:0x)?[0-9a-f]{{64}}(?![0-9a-f])",
        ),
        # Forms that nothing else has: a bot's token, a web token, an interaction's token, keys of clouds and hubs.
        (False, r"(?P<kept>\b)[A-Za-z0-9_-]{23,28}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}"),
        (False, r"(?P<kept>\b)eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
        (False, r"(?P<kept>\b)aW50ZXJhY3Rpb2[A-Za-z0-9_=-]{16,}"),
        (False, r"(?P<kept>\b)(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
        (False, r"(?P<kept>\b)(?:hf_|gh[pousr]_|github_pat_|glpat-)[A-Za-z0-9_-]{20,}"),
        # Tokens that we make: 16 or 32 random bytes in base64, as a parameter in quotes.
        (
            False,
            r"(?P<kept>(?<=[\"']))(?=[\w-]*[A-Z])(?=[\w-]*[a-z])(?=[\w-]*\d)"
            r"(?:[A-Za-z0-9_-]{22}|[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{64})(?=[\"'])",
        ),
    )
)


def hide_shapes(text: str, hidden: str) -> str:
    """Return the text with `hidden` in the place of everything that has the shape of a credential."""
    for shape in _SHAPES:
        text = shape.sub(lambda match: match["kept"] + hidden, text)
    return text
