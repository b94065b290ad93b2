"""The errors that people read.

MemberError                     always ephemeral: says what happened and what to do next
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
├── NotLiveError
├── CandidateUnknownError
├── CandidateNotWonError
├── CandidateOutdatedError
├── AdapterMissingError
├── CandidateBehindError
├── CandidateNotReadyError
├── BattleLedgerError
├── RestartingError
├── NoBattleError
├── BattleOpenError
├── BattleClosedError
├── BattlePairUnknownError
├── BattleVoteFinalError
├── BattleAllSeenError
├── BattleChoiceMissingError
├── BattlePromptsMissingError
├── BattlePlaceError
├── BattleRegistrationError
├── LearningPausedError
├── TrainingUnderWayError
└── UnreadableButtonError
OperatorError                   says what is wrong with the set-up, and its remedy
├── SettingsError
└── UnreachableError

The docstring of a MemberError is the sentence that the member reads. Keyword arguments fill in the braces.
"""

from __future__ import annotations

import inspect

from bot.domain.amounts import amount


class MemberError(Exception):
    """That did not work. Please try again in a moment."""

    typed: str | None = None  # what the member had typed, where it would be lost with the command

    def __init__(self, **facts: object) -> None:
        self.sentence = " ".join(inspect.cleandoc(type(self).__doc__ or "").format(**facts).split())
        super().__init__(self.sentence)


class SetupMissingError(MemberError):
    """FLock is not set up in this server yet. A moderator can set it up with `/setup`."""


class RoundNotOpenError(MemberError):
    """There is no open round. A moderator can open one with `/round open`."""


class NoRoundError(RoundNotOpenError):
    """There is no such round in this server. `/standings` without a number shows the latest round."""


class RoundClosedError(RoundNotOpenError):
    """Round {number} is closed, so votes can no longer be changed. `/standings` shows the result."""


class RoundAlreadyOpenError(MemberError):
    """Round {number} is still open: <#{thread_id}>. Close it with `/round close` before you open another round."""


class PromptEmptyError(MemberError):
    """A prompt needs at least {shortest} visible characters. Describe what the video should show and how it moves."""


class PromptTooLongError(MemberError):
    """Your prompt has {length} characters; the limit is {longest}. Keep what should be visible and cut the rest."""


class PromptBlockedError(MemberError):
    """{say} Nothing was posted, and it doesn't count towards your limit. If this is a mistake, ask a moderator."""

    def __init__(self, *, say: str, review_id: int) -> None:
        super().__init__(say=say)
        self.review_id = review_id


class PromptWaitsError(MemberError):
    """{say} You'll be told here what is decided; `/videos` shows where it stands."""


class ReviewUnknownError(MemberError):
    """There is no such item waiting for review. `/review list` shows what is waiting in this server."""


class ReviewOverError(MemberError):
    """That has already been decided. `/review list` shows what is still waiting."""


class ReviewTooLateError(MemberError):
    """Round {number} is closed, so that prompt can no longer become a video. The member will be told."""


class ModeratorsOnlyError(MemberError):
    """Only moderators can do that (you need the Manage Server permission)."""


class TaskEmptyError(MemberError):
    """A round needs a task of 3 to 200 visible characters, such as "a lighthouse in a storm"."""


class DurationError(MemberError):
    """I can't read that duration. Write it like `30m`, `12h` or `1d 12h`, from 1 minute to 30 days."""


class TooManyWaitingError(MemberError):
    """You already have {videos} in progress, which is the limit. Wait for one, or cancel one in `/videos`."""

    def __init__(self, *, waiting: int) -> None:
        super().__init__(videos=amount(waiting, "video"))


class TooManyPromptsError(MemberError):
    """You have used {prompts} in this round, which is the limit. You can still vote on videos until it closes."""

    def __init__(self, *, limit: int) -> None:
        super().__init__(prompts=amount(limit, "prompt"))


class VideoUnknownError(MemberError):
    """I can't find that video. It may have been removed. `/videos` lists yours, `/standings` those of the round."""


class NoProvenanceError(MemberError):
    """That video has no provenance card: it was made before FLock wrote them in this server."""


class VideoNotYoursError(MemberError):
    """Only the member who asked for a video can cancel it. `/videos` lists yours."""


class VideoOverError(MemberError):
    """That video is already finished, so there is nothing left to cancel."""


class RemovalTooEarlyError(MemberError):
    """That video is being posted right now. Try again in a few seconds."""


class ElsewhereError(MemberError):
    """That belongs to another server. Please use the buttons in the server where the video was posted."""


class MissingPermissionsError(MemberError):
    """I can't post rounds in <#{channel_id}> yet. Please give me these permissions there: {permissions}.
    Then run `/setup` again.
    """


class FeedbackEmptyError(MemberError):
    """Nothing was written, so nothing was saved. Press the button again and write a few words."""


class NoVoteError(MemberError):
    """You haven't voted in round {number}, so the ledger holds nothing of yours. Vote in the round's thread first."""


class AddressError(MemberError):
    """That isn't a wallet address. Copy it from your wallet: `0x` and 40 digits, with its capital letters unchanged."""


class WalletLinkedError(MemberError):
    """You already vote with the wallet `{address}`. Unlink it with `/wallet unlink` before you link another one."""


class WalletTakenError(MemberError):
    """The wallet `{address}` already votes for another member, or for you in another server. Use another account."""


class WalletMissingError(MemberError):
    """You have no linked wallet, so you vote with the buttons. If you want to sign your votes, use `/wallet link`."""


class WalletUnlinkingError(MemberError):
    """Your wallet is being unlinked, so your vote was not recorded. Please try again in about a minute."""


class WalletSeatError(MemberError):
    """Your wallet voted in round {number}, so only it can vote there. Link it again, or wait for the next round."""


class NothingToSignError(MemberError):
    """You have nothing to sign. Press 👍 or 👎 on a video of the open round first, then sign your choices."""


class NotOnChainYetError(MemberError):
    """Your choices are saved, but their videos aren't on the ledger yet. Sign them in a minute with `/wallet sign`."""


class TooLateToSignError(MemberError):
    """It's too late to sign a ballot for round {number}: it would no longer arrive in time. Signed choices count."""


class TooManyBallotsError(MemberError):
    """You have signed {ballots} in round {number}, which is the limit. Your last signed choices stand."""

    def __init__(self, *, limit: int, number: int) -> None:
        super().__init__(ballots=amount(limit, "ballot"), number=number)


class TooManyChangesError(MemberError):
    """You have linked or unlinked a wallet here {times} within a day, which is the limit. Try again in {hours}."""

    def __init__(self, *, limit: int, hours: int) -> None:
        super().__init__(times=amount(limit, "time"), hours=amount(hours, "hour"))


class AccountChangesError(MemberError):
    """`{address}` approved signatures when asked, then denied them on the ledger. It can't be used again today; use
    another account.
    """


class SigningOverError(MemberError):
    """That signing request has expired or is already signed. For a new one, press a video's button or use `/wallet`."""


class SignatureError(MemberError):
    """That isn't a signature of this message by `{address}`, so nothing was recorded. Sign it with that account."""


class ChainAwayError(MemberError):
    """The ledger isn't responding right now, so nothing was recorded. Your choices are saved; try again in a minute."""


class NotLiveError(MemberError):
    """Release {number} is not live, so nothing was changed. `/model` shows the release that renders now."""


class CandidateUnknownError(MemberError):
    """There is no candidate {number}. Choose one from the list that appears while you type."""


class CandidateNotWonError(MemberError):
    """Candidate {number} is {state}, and nothing was released. Only a candidate that won its battle can be released."""


class CandidateOutdatedError(MemberError):
    """Candidate {number} won against a release that isn't live any more, so nothing was released. It needs a new
    battle against the one that is live now.
    """


class AdapterMissingError(MemberError):
    """The file of candidate {number} can't be used, so nothing was changed. The operator can see why in the log."""


class CandidateBehindError(MemberError):
    """Candidate {number} continues a release that isn't live any more, so it could not be released. Train a new one
    from the live release, and let that one battle.
    """


class CandidateNotReadyError(MemberError):
    """Candidate {number} is {state}, so no battle round was opened. Only a candidate that is ready can battle."""


class BattleLedgerError(MemberError):
    """The ledger has not taken {what} yet, which has to stand there before the next battle round is registered. Try
    again in a few minutes.
    """


class LearningPausedError(MemberError):
    """Learning is paused, so nothing was begun. `/admin model resume` ends that."""


class TrainingUnderWayError(MemberError):
    """Candidate {number} is being trained, so nothing was begun. The votes since then go into the next one."""


class RestartingError(MemberError):
    """I'm restarting, so nothing was recorded. Please try again in a minute."""


class NoBattleError(MemberError):
    """There is no open battle round. When a new model is to be compared with the live one, it is announced here."""


class BattleOpenError(MemberError):
    """Battle round {number} isn't over yet. The next one can begin when its verdict is posted."""


class BattleClosedError(MemberError):
    """Battle round {number} is closed, so nothing was recorded. Its verdict is in the channel for rounds."""


class BattlePairUnknownError(MemberError):
    """That pair isn't shown any more. `/battle` shows your next one."""


class BattleVoteFinalError(MemberError):
    """You have already seen which video was whose, so that choice stands. `/battle` shows your next pair."""


class BattleChoiceMissingError(MemberError):
    """Choose A, B, tie or both bad first. Which video was whose is shown after your own choice alone."""


class BattleAllSeenError(MemberError):
    """You have answered every pair of battle round {number}. Thank you! Its verdict will be posted in the channel."""


class BattlePromptsMissingError(MemberError):
    """A battle round of {pairs} pairs needs {needed} prompts that candidate {number} was not trained on, and there are
    {here}. {trained} posted prompts were in its training. One prompt in ten is held out of every training, and each
    that is posted after it serves as well: let a round make videos of new prompts, or ask for fewer pairs, then try
    again.
    """


class BattlePlaceError(MemberError):
    """No battle round was opened. {obstacle}"""


class BattleRegistrationError(MemberError):
    """No battle round was opened. {reason}"""


class UnreadableButtonError(MemberError):
    """That button belongs to an older version and no longer works. `/videos` and `/standings` show current buttons."""


class OperatorError(Exception):
    """The set-up is wrong. The message says in one sentence what is wrong and what to do about it."""


class SettingsError(OperatorError):
    """Settings are wrong or missing. The message names all of them at once, one on each line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class UnreachableError(OperatorError):
    """Something that FLock needs does not answer."""
