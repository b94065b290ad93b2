"""Every error that a person reads.

MemberError                     always ephemeral: what happened, what to do next
├── SetupMissingError
├── RoundNotOpenError
│   ├── RoundClosedError
│   └── NoRoundError
├── RoundAlreadyOpenError
├── PromptEmptyError
├── PromptTooLongError
├── PromptBlockedError
├── PromptWaitsError
├── ReviewUnknownError
├── ReviewOverError
├── ReviewTooLateError
├── ModeratorsOnlyError
├── TaskEmptyError
├── DurationError
├── TooManyWaitingError
├── TooManyPromptsError
├── VideoUnknownError
├── NoProvenanceError
├── VideoNotYoursError
├── VideoOverError
├── RemovalTooEarlyError
├── ElsewhereError
├── MissingPermissionsError
├── FeedbackEmptyError
├── NoVoteError
├── AddressError
├── WalletLinkedError
├── WalletTakenError
├── WalletMissingError
├── WalletUnlinkingError
├── WalletSeatError
├── NothingToSignError
├── NotOnChainYetError
├── TooLateToSignError
├── TooManyBallotsError
├── TooManyChangesError
├── AccountChangesError
├── SigningOverError
├── SignatureError
├── ChainAwayError
├── RestartingError
└── UnreadableButtonError
OperatorError                   what is wrong with the set-up, and its remedy
├── SettingsError
└── UnreachableError

The docstring of a MemberError is the sentence; what stands in braces is filled in from the keyword arguments.
"""

from __future__ import annotations

import inspect


class MemberError(Exception):
    """That did not work. Please try again in a moment."""

    def __init__(self, **facts: object) -> None:
        self.sentence = " ".join(inspect.cleandoc(type(self).__doc__ or "").format(**facts).split())
        super().__init__(self.sentence)


class SetupMissingError(MemberError):
    """FLock is not set up in this server yet. A moderator can do that with `/setup`."""


class RoundNotOpenError(MemberError):
    """There is no open round. A moderator can open one with `/round open`."""


class NoRoundError(RoundNotOpenError):
    """There is no round like that here. `/standings` without a number shows the latest one."""


class RoundClosedError(RoundNotOpenError):
    """Round {number} is closed, so its votes stand as they are. `/standings` shows the result."""


class RoundAlreadyOpenError(MemberError):
    """Round {number} is still open: <#{thread_id}>. Close it with `/round close` before you open another one."""


class PromptEmptyError(MemberError):
    """A prompt needs at least {shortest} visible characters. Describe what should be seen, and how it moves."""


class PromptTooLongError(MemberError):
    """That prompt has {length} characters, and at most {longest} fit. Keep what can be seen and shorten the rest."""


class PromptBlockedError(MemberError):
    """{say} Nothing was posted, and it does not count as a prompt. Is that a mistake? Ask a moderator."""

    def __init__(self, *, say: str, review_id: int) -> None:
        super().__init__(say=say)
        self.review_id = review_id


class PromptWaitsError(MemberError):
    """{say} Nothing is posted until then. You are told in this channel, and `/videos` shows how it stands."""


class ReviewUnknownError(MemberError):
    """That is not there to be decided. `/review list` shows what waits for a moderator of this server."""


class ReviewOverError(MemberError):
    """That is decided already. `/review list` shows what still waits."""


class ReviewTooLateError(MemberError):
    """Round {number} is closed, so no video can be made from that prompt any more. The member is told."""


class ModeratorsOnlyError(MemberError):
    """Only moderators of this server decide that: members with the right to manage it."""


class TaskEmptyError(MemberError):
    """A round needs a task of 3 to 200 visible characters, such as "a lighthouse in a storm"."""


class DurationError(MemberError):
    """That duration cannot be read. Write it like `30m`, `12h` or `3d`: at least 1 minute, at most 30 days."""


class TooManyWaitingError(MemberError):
    """You have {waiting} videos on their way, which is the most at a time. Wait for one, or cancel one in `/videos`."""


class TooManyPromptsError(MemberError):
    """You have used all your {limit} prompts of this round. You can vote on the others' videos until it closes."""


class VideoUnknownError(MemberError):
    """That video is not there any more. `/videos` lists yours, `/standings` those of the round."""


class NoProvenanceError(MemberError):
    """That video has no provenance card: it was made before this server's FLock wrote them."""


class VideoNotYoursError(MemberError):
    """Only the member who asked for a video can cancel it."""


class VideoOverError(MemberError):
    """That video is already finished, so there is nothing left to cancel."""


class RemovalTooEarlyError(MemberError):
    """That video is being posted at this very moment. Try again in a few seconds, and it is taken away."""


class ElsewhereError(MemberError):
    """That belongs to another server. Please use the buttons in the server where the video was posted."""


class MissingPermissionsError(MemberError):
    """I may not post rounds in <#{channel_id}> yet. Give me there: {permissions}. Then run `/setup` again."""


class FeedbackEmptyError(MemberError):
    """Nothing was written, so nothing was saved. Press the button again and write a few words."""


class NoVoteError(MemberError):
    """You have not voted in round {number}, so there is nothing on the chain about you. Vote in its thread first."""


class AddressError(MemberError):
    """That is no wallet address. Copy it from your wallet: `0x` and 40 digits, with its capital letters as they are."""


class WalletLinkedError(MemberError):
    """You vote with the wallet `{address}` already. Take it back with `/wallet unlink` before you link another one."""


class WalletTakenError(MemberError):
    """The wallet `{address}` votes for somebody else, or for you in another server. Use another account of it."""


class WalletMissingError(MemberError):
    """You vote with the buttons here, and no wallet is linked. `/wallet link` does that, if you want to sign."""


class WalletUnlinkingError(MemberError):
    """Your wallet is being unlinked, so nothing was recorded. Please try again in about a minute."""


class WalletSeatError(MemberError):
    """Your wallet has voted in round {number}, so only it can vote there: link it again, or wait for the next round."""


class NothingToSignError(MemberError):
    """There is nothing to sign. Press 👍 or 👎 on a video of the open round, and sign your choices then."""


class NotOnChainYetError(MemberError):
    """Your choices are kept, but their videos are not on the chain yet. Sign them in a minute with `/wallet sign`."""


class TooLateToSignError(MemberError):
    """Round {number} closes in a moment, and a signed ballot would come too late: the ledger gives it no grace."""


class TooManyBallotsError(MemberError):
    """You have signed {limit} ballots in round {number}, the most that we send for you. Your last choices stand."""


class TooManyChangesError(MemberError):
    """You have linked or unlinked a wallet here {limit} times in a day, the most that we send. Try in {hours} hours."""


class AccountChangesError(MemberError):
    """`{address}` said yes when asked and no in the chain's blocks. Nothing more of it is sent today; take another."""


class SigningOverError(MemberError):
    """That request to sign is over, or already signed. Press the button on a video, or use `/wallet`, for a new one."""


class SignatureError(MemberError):
    """That is no signature of `{address}` over this message, so nothing was recorded. Sign it with that account."""


class ChainAwayError(MemberError):
    """The chain does not answer just now, so nothing was recorded. Your choices are kept; try again in a minute."""


class RestartingError(MemberError):
    """I am just being restarted, so nothing was recorded. Please try again in a minute."""


class UnreadableButtonError(MemberError):
    """That button is from a version of FLock that is no longer there. `/videos` and `/standings` show what is new."""


class OperatorError(Exception):
    """What is wrong with the set-up, and what to do about it, in one sentence."""


class SettingsError(OperatorError):
    """Settings are wrong or missing: all of them at once, a line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class UnreachableError(OperatorError):
    """Something that FLock needs does not answer."""
