"""The meaning of a refusal: the ledger's own words, and the sentences that members read. No web3."""

from __future__ import annotations

TEMPORARY_REFUSALS = {  # they say nothing about the entry: it is tried again later
    "ledger: not a relayer": "This account is not a relayer of the ledger; its owner must call set_relayer.",
    "ledger: paused": "The ledger is paused by its guardian; nothing is lost, and it goes on after unpause.",
    "ledger: wrong sequence": "The ledger's sequence moved while a batch was drafted.",
}
NOT_OPEN = "ledger: round not open"
ANSWER_CHANGED = (
    "reverted: the account"  # not the ledger's words: it had accepted the call when it was asked beforehand
)
UNEXPLAINED = "reverted: no reason known"
SENTENCES = {
    "ledger: round closed": "The round had already closed on the ledger.",
    "ledger: bad times": "The round was already over when the ledger could be reached.",
    "ledger: round full": "The round holds as many videos as the ledger takes.",
    "ledger: other sides": "The battle was entered with other sides than these.",
    "ledger: nothing to reveal": "The ledger holds no such battle, or it was revealed otherwise.",
    "ledger: unknown parent": "The ledger does not hold the commitment that it continues.",
    "ledger: voter linked": "This member votes with a wallet: only what that wallet signs is recorded.",
    "ledger: seat claimed": "This member votes with a wallet: only what that wallet signs is recorded.",
    "ledger: wallet linked": "That wallet votes for another member already.",
    "ledger: not linked": "The wallet was not linked when this came to the ledger.",
    "ledger: bad signature": "The ledger does not accept the signature as the wallet's.",
    "ledger: stale nonce": "The wallet has signed something newer, which the ledger has already.",
    "ledger: late": "It came to the ledger later than it was signed for.",
    "ledger: seat not claimed": "The seat from before the link could not be handed over to the wallet.",
    ANSWER_CHANGED: (
        "The account said yes when it was asked, and no in the chain's blocks, twice; it is not tried again. Use an "
        "account that gives the same answer each time."
    ),
    UNEXPLAINED: (
        "The chain's blocks refused it again and again, although the ledger had agreed to it each time; it is not "
        "tried again. The operator's log says more."
    ),
}
