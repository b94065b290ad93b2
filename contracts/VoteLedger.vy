# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy off
"""
@title VoteLedger: the public record of a community's rounds, videos and votes
@license MIT
@notice A relayer writes what members did; nobody can change it afterwards, and anyone can recompute every tally
        from the logs alone. Rounds, videos and voters are named by 32-byte keys that the writer chooses, so that
        writing something a second time is refused instead of doubled.
@dev    A batch is a stream of big-endian uint32 entries, eight to a word:
            0               padding: nothing may follow it within its word
            1 << 31 | id    the votes that follow are for video `id`
            index << 2 | c  voter `index` (1 .. 2**29 - 1) now chooses c (0 withdrawn, 1 up, 2 down)
        Ballots take 2 bits, 128 voters to a slot; a tally is one slot a video. The contract makes no external call,
        holds no ether and cannot be upgraded: a new version is a new address, and the old record stays readable.
"""

# ------------------------------------------------------------------ constants

MAX_WORDS: constant(uint256) = 256          # 2,048 entries in a batch
MAX_VOTERS: constant(uint256) = 256         # registered in one transaction
MAX_VIDEOS: constant(uint256) = 1024        # in one round: finalize reads each of them
MASK_31: constant(uint256) = 2**31 - 1
MASK_32: constant(uint256) = 2**32 - 1
MASK_64: constant(uint256) = 2**64 - 1
NO_SLOT: constant(uint256) = max_value(uint256)

version: public(constant(String[8])) = "1"

# --------------------------------------------------------------------- events

event OwnershipTransferStarted:
    previous_owner: indexed(address)
    new_owner: indexed(address)

event OwnershipTransferred:
    previous_owner: indexed(address)
    new_owner: indexed(address)

event RelayerSet:
    relayer: indexed(address)
    allowed: bool

event GuardianSet:
    guardian: indexed(address)

event PauseSet:
    by: indexed(address)
    paused: bool

event RoundOpened:
    round: indexed(uint256)
    key: indexed(bytes32)
    opens: uint256
    closes: uint256
    meta: bytes32

event VideoAdded:
    video: indexed(uint256)
    round: indexed(uint256)
    key: indexed(bytes32)
    prompt_hash: bytes32
    content_hash: bytes32
    model_hash: bytes32
    playback_id: String[128]

event VotersRegistered:
    first: indexed(uint256)
    voter_ids: DynArray[bytes32, MAX_VOTERS]

event VotesRecorded:
    seq: indexed(uint256)
    words: DynArray[uint256, MAX_WORDS]

event RoundClosed:
    round: indexed(uint256)
    closes: uint256

event RoundFinalized:
    round: indexed(uint256)
    winner: indexed(uint256)
    up: uint256
    down: uint256

# -------------------------------------------------------------------- storage

owner: public(address)
pending_owner: public(address)
guardian: public(address)
paused: public(bool)
is_relayer: public(HashMap[address, bool])

rounds_count: public(uint256)
videos_count: public(uint256)
voters_count: public(uint256)
seq: public(uint256)                        # the number that the next batch must carry
digest: public(bytes32)                     # keccak256(digest before, words) over every batch

round_of: public(HashMap[bytes32, uint256])
video_of: public(HashMap[bytes32, uint256])
voter_index: public(HashMap[bytes32, uint256])

rounds: HashMap[uint256, uint256]           # opens | closes << 64 | videos << 128 | winner << 160 | final << 192
videos: HashMap[uint256, uint256]           # up | down << 64 | round << 128
video_at: HashMap[uint256, uint256]         # round << 32 | place -> video
ballots: HashMap[uint256, uint256]          # video << 32 | voter index >> 7 -> 128 choices of 2 bits

# ---------------------------------------------------------------- constructor

@deploy
def __init__(owner: address, guardian: address, relayer: address):
    """
    @notice Gives the three roles away at once, so that the deploying key need not keep any of them.
    @param owner May change relayers and guardian, and end a pause; the zero address is refused.
    @param guardian May pause, and nothing else.
    @param relayer May write rounds, videos, voters and batches.
    """
    assert owner != empty(address), "ledger: no owner"
    self.owner = owner
    self.guardian = guardian
    self.is_relayer[relayer] = True
    log OwnershipTransferred(previous_owner=empty(address), new_owner=owner)
    log GuardianSet(guardian=guardian)
    log RelayerSet(relayer=relayer, allowed=True)

# ---------------------------------------------------------------------- roles

@external
def transfer_ownership(new_owner: address):
    """
    @notice First of two steps: names the next owner, who must accept. There is no renouncing.
    @param new_owner The next owner; the zero address cancels a transfer that was started.
    """
    assert msg.sender == self.owner, "ledger: not the owner"
    self.pending_owner = new_owner
    log OwnershipTransferStarted(previous_owner=msg.sender, new_owner=new_owner)

@external
def accept_ownership():
    """
    @notice Second of two steps: the named account takes the ownership over.
    """
    assert msg.sender == self.pending_owner, "ledger: not the pending owner"
    log OwnershipTransferred(previous_owner=self.owner, new_owner=msg.sender)
    self.pending_owner = empty(address)
    self.owner = msg.sender

@external
def set_relayer(relayer: address, allowed: bool):
    """
    @notice Lets an account write, or takes that away.
    """
    assert msg.sender == self.owner, "ledger: not the owner"
    self.is_relayer[relayer] = allowed
    log RelayerSet(relayer=relayer, allowed=allowed)

@external
def set_guardian(guardian: address):
    """
    @notice Names the account that may pause.
    """
    assert msg.sender == self.owner, "ledger: not the owner"
    self.guardian = guardian
    log GuardianSet(guardian=guardian)

@external
def pause():
    """
    @notice Stops every writing, at once. The guardian can only stop: what is recorded stays as it is.
    """
    assert msg.sender == self.guardian or msg.sender == self.owner, "ledger: not the guardian"
    assert not self.paused, "ledger: paused"
    self.paused = True
    log PauseSet(by=msg.sender, paused=True)

@external
def unpause():
    """
    @notice Lets writing go on.
    """
    assert msg.sender == self.owner, "ledger: not the owner"
    assert self.paused, "ledger: not paused"
    self.paused = False
    log PauseSet(by=msg.sender, paused=False)

@internal
@view
def _check_writer():
    assert self.is_relayer[msg.sender], "ledger: not a relayer"
    assert not self.paused, "ledger: paused"

# -------------------------------------------------------------------- writing

@external
def open_round(key: bytes32, opens: uint64, closes: uint64, meta: bytes32) -> uint256:
    """
    @notice Opens a round of voting.
    @param key The writer's name of the round: a second round of the same name is refused.
    @param opens Second since the epoch from which votes count.
    @param closes Second from which they no longer do; it can be brought forward by `close_round`, never back.
    @param meta Hash of the round's description, kept off chain.
    @return The round's number, from 1.
    """
    self._check_writer()
    assert key != empty(bytes32), "ledger: no key"
    assert self.round_of[key] == 0, "ledger: round exists"
    assert opens < closes and block.timestamp < convert(closes, uint256), "ledger: bad times"
    round: uint256 = self.rounds_count + 1
    self.rounds_count = round
    self.round_of[key] = round
    self.rounds[round] = convert(opens, uint256) | (convert(closes, uint256) << 64)
    log RoundOpened(
        round=round, key=key, opens=convert(opens, uint256), closes=convert(closes, uint256), meta=meta
    )
    return round

@external
def add_video(
    key: bytes32,
    round: uint256,
    prompt_hash: bytes32,
    content_hash: bytes32,
    model_hash: bytes32,
    playback_id: String[128],
) -> uint256:
    """
    @notice Enters a video into a round, until the round closes.
    @param key The writer's name of the video: a second video of the same name is refused.
    @param round The round's number.
    @param prompt_hash SHA-256 of the prompt's UTF-8 text.
    @param content_hash SHA-256 of the video file.
    @param model_hash Hash that names the model and its revision.
    @param playback_id Where the video host plays it.
    @return The video's number, from 1, in one row over all rounds.
    """
    self._check_writer()
    assert key != empty(bytes32), "ledger: no key"
    assert self.video_of[key] == 0, "ledger: video exists"
    about: uint256 = self.rounds[round]
    assert about != 0, "ledger: unknown round"
    assert block.timestamp < (about >> 64) & MASK_64, "ledger: round closed"
    place: uint256 = (about >> 128) & MASK_32
    assert place < MAX_VIDEOS, "ledger: round full"
    video: uint256 = self.videos_count + 1
    self.videos_count = video
    self.video_of[key] = video
    self.videos[video] = round << 128
    self.video_at[(round << 32) | place] = video
    self.rounds[round] = about + (1 << 128)
    log VideoAdded(
        video=video,
        round=round,
        key=key,
        prompt_hash=prompt_hash,
        content_hash=content_hash,
        model_hash=model_hash,
        playback_id=playback_id,
    )
    return video

@external
def register(voter_ids: DynArray[bytes32, MAX_VOTERS]):
    """
    @notice Gives each voter the next index. Neighbours share storage slots, so indices are dense.
    @param voter_ids Pseudonyms, each new; one that is known already is refused with the whole list.
    """
    self._check_writer()
    assert len(voter_ids) != 0, "ledger: empty list"
    index: uint256 = self.voters_count
    log VotersRegistered(first=index + 1, voter_ids=voter_ids)
    for voter_id: bytes32 in voter_ids:
        assert voter_id != empty(bytes32), "ledger: no voter id"
        assert self.voter_index[voter_id] == 0, "ledger: voter exists"
        index = unsafe_add(index, 1)
        self.voter_index[voter_id] = index
    assert index < 2**29, "ledger: too many voters"
    self.voters_count = index

@external
def batch(expected_seq: uint256, words: DynArray[uint256, MAX_WORDS]):
    """
    @notice Records a stream of votes, in order: the last choice of a voter about a video counts. All or nothing.
    @param expected_seq Must equal `seq`, so that a batch that is sent twice is recorded once.
    @param words The stream, as described at the top.
    """
    self._check_writer()
    assert expected_seq == self.seq, "ledger: wrong sequence"
    assert len(words) != 0, "ledger: empty batch"
    self.seq = unsafe_add(expected_seq, 1)
    voters: uint256 = self.voters_count
    video: uint256 = 0
    before: uint256 = 0                     # the video's slot as it was read
    up: uint256 = 0
    down: uint256 = 0
    key: uint256 = NO_SLOT                  # the ballot slot at hand: as it was read, and as it is now
    old: uint256 = 0
    current: uint256 = 0
    for word: uint256 in words:
        right: uint256 = 256
        for _: uint256 in range(8):
            right = unsafe_sub(right, 32)
            entry: uint256 = (word >> right) & MASK_32
            if entry == 0:
                assert word << unsafe_sub(256, right) == 0, "ledger: malformed stream"
                break
            if entry > MASK_31:
                if current != old:
                    self.ballots[key] = current
                if video != 0:
                    self._store_tally(video, before, up, down)
                video = entry & MASK_31
                before = self._open_video(video)
                up = before & MASK_64
                down = (before >> 64) & MASK_64
                key = NO_SLOT
                old = 0
                current = 0
                continue
            index: uint256 = entry >> 2
            choice: uint256 = entry & 3
            slot: uint256 = (video << 32) | (index >> 7)
            if slot != key:
                assert video != 0, "ledger: no video header"
                if current != old:
                    self.ballots[key] = current
                key = slot
                old = self.ballots[slot]
                current = old
            assert choice != 3, "ledger: bad choice"
            assert index != 0 and index <= voters, "ledger: unknown voter"
            place: uint256 = (index & 127) << 1
            previous: uint256 = (current >> place) & 3
            # bit 0 of a choice is "up", bit 1 is "down": the tally moves without a branch
            up = unsafe_sub(unsafe_add(up, choice & 1), previous & 1)
            down = unsafe_sub(unsafe_add(down, choice >> 1), previous >> 1)
            current = current ^ ((previous ^ choice) << place)
    assert video != 0, "ledger: no video header"
    if current != old:
        self.ballots[key] = current
    self._store_tally(video, before, up, down)
    self.digest = keccak256(abi_encode(self.digest, words))
    log VotesRecorded(seq=expected_seq, words=words)

@internal
@view
def _open_video(video: uint256) -> uint256:
    slot: uint256 = self.videos[video]
    assert slot != 0, "ledger: unknown video"
    about: uint256 = self.rounds[slot >> 128]
    assert block.timestamp >= about & MASK_64, "ledger: round not open"
    assert block.timestamp < (about >> 64) & MASK_64, "ledger: round closed"
    return slot

@internal
def _store_tally(video: uint256, before: uint256, up: uint256, down: uint256):
    after: uint256 = ((before >> 128) << 128) | (down << 64) | up
    if after != before:
        self.videos[video] = after

@external
def close_round(round: uint256):
    """
    @notice Closes a round before its time. What was recorded stays; nothing more is accepted.
    @param round The round's number.
    """
    self._check_writer()
    about: uint256 = self.rounds[round]
    assert about != 0, "ledger: unknown round"
    assert block.timestamp < (about >> 64) & MASK_64, "ledger: round closed"
    self.rounds[round] = (about & ~(MASK_64 << 64)) | (block.timestamp << 64)
    log RoundClosed(round=round, closes=block.timestamp)

@external
def finalize(round: uint256) -> uint256:
    """
    @notice Names the winner of a closed round, once. Anyone may call it: the rule leaves no choice.
    @dev The best net score (up minus down) wins; then the most ups; then the lower number.
    @param round The round's number.
    @return The winning video's number, or 0 for a round in which nobody holds a vote.
    """
    assert not self.paused, "ledger: paused"
    about: uint256 = self.rounds[round]
    assert about != 0, "ledger: unknown round"
    assert (about >> 192) == 0, "ledger: round final"
    assert block.timestamp >= (about >> 64) & MASK_64, "ledger: round open"
    winner: uint256 = 0
    best_up: uint256 = 0
    best_down: uint256 = 0
    cast: uint256 = 0
    for place: uint256 in range((about >> 128) & MASK_32, bound=MAX_VIDEOS):
        video: uint256 = self.video_at[(round << 32) | place]
        slot: uint256 = self.videos[video]
        up: uint256 = slot & MASK_64
        down: uint256 = (slot >> 64) & MASK_64
        # up - down > best_up - best_down, without negative numbers; places are in rising order of number
        cast += up + down
        net: uint256 = up + best_down
        best: uint256 = best_up + down
        if winner == 0 or net > best or (net == best and up > best_up):
            winner = video
            best_up = up
            best_down = down
    if cast == 0:
        winner = 0
    self.rounds[round] = about | (winner << 160) | (1 << 192)
    log RoundFinalized(round=round, winner=winner, up=best_up, down=best_down)
    return winner

# -------------------------------------------------------------------- reading

@external
@view
def tally(video: uint256) -> (uint256, uint256):
    """
    @notice A video's votes.
    @return How many chose up, and how many chose down.
    """
    slot: uint256 = self.videos[video]
    return slot & MASK_64, (slot >> 64) & MASK_64

@external
@view
def vote_of(video: uint256, index: uint256) -> uint256:
    """
    @notice What a voter chooses about a video now: 0 nothing or withdrawn, 1 up, 2 down.
    """
    return (self.ballots[(video << 32) | (index >> 7)] >> ((index & 127) << 1)) & 3

@external
@view
def round_of_video(video: uint256) -> uint256:
    """
    @notice The number of the round that a video is in; 0 for a video that does not exist.
    """
    return self.videos[video] >> 128

@external
@view
def round_info(round: uint256) -> (uint256, uint256, uint256, bool, uint256):
    """
    @notice What is known of a round; all zero for a round that does not exist.
    @return opens, closes (seconds since the epoch), how many videos, whether it is final, the winner's number.
    """
    about: uint256 = self.rounds[round]
    return (
        about & MASK_64,
        (about >> 64) & MASK_64,
        (about >> 128) & MASK_32,
        (about >> 192) != 0,
        (about >> 160) & MASK_32,
    )

@external
@view
def videos_of(round: uint256) -> DynArray[uint256, MAX_VIDEOS]:
    """
    @notice The numbers of a round's videos, in the order in which they were entered.
    """
    listed: DynArray[uint256, MAX_VIDEOS] = []
    for place: uint256 in range((self.rounds[round] >> 128) & MASK_32, bound=MAX_VIDEOS):
        listed.append(self.video_at[(round << 32) | place])
    return listed
