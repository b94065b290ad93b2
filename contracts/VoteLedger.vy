# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
# pragma nonreentrancy off
"""
@title VoteLedger: the public record of a community's rounds, videos, battles and votes
@license MIT
@notice A relayer writes what members did; nobody can change it afterwards, and anyone can recompute every tally
        from the logs alone. A member who links a wallet votes by signature instead, out of the relayer's reach.
        Rounds, videos and voters are named by 32-byte keys that the writer chooses, so that writing something a
        second time is refused instead of doubled.
@dev    A voter has an index for life and, in each round, a seat, given with the first vote: 0, 1, 2 ... So the ballots
        of a round lie side by side, however large the registry is. A batch is about one round and has two lists:
            arrivals   voter indices that take the next seats, in this order: uint32, eight to a word, big-endian;
                       only the last word may be padded, with zeros
            words      place (10 bits) | slot (22 bits) | 112 choices of 2 bits, that of the lowest seat lowest:
                       what seats slot * 112 + 0 .. 111 now choose about the round's item at this place.
                       0 leaves a ballot as it is, 1 up, 2 down, 3 withdrawn; of a battle 1 A, 2 B, 3 tie
        Ballots are kept in the same shape, 112 to a slot, with 0 for none; a tally is one slot an item. The contract
        holds no ether and cannot be upgraded: a new version is a new address, and the old record stays readable.
        Its only external call is a static one, to a smart account that is asked about a signature (EIP-1271),
        before anything is written.
"""

# ------------------------------------------------------------------ constants

MAX_WORDS: constant(uint256) = 256          # in a batch: 28,672 ballots, and 2,048 arrivals
MAX_VOTERS: constant(uint256) = 256         # registered in one transaction
MAX_ITEMS: constant(uint256) = 1023         # videos and battles in one round: finalize reads each of them
MAX_CHOICES: constant(uint256) = 64         # in one signed ballot
MAX_GRACE: constant(uint256) = 86400        # seconds: a day after its close at the latest a round is over
MAX_SIGNATURE: constant(uint256) = 2048     # bytes; those of smart accounts may be long
SEATS: constant(uint256) = 112              # ballots in a slot
OWN_SEATS: constant(uint256) = 112 * 2**21  # the first seat of those that only wallets get
CHOICES: constant(uint256) = 2**224 - 1
MASK_10: constant(uint256) = 2**10 - 1
MASK_16: constant(uint256) = 2**16 - 1
MASK_32: constant(uint256) = 2**32 - 1
MASK_40: constant(uint256) = 2**40 - 1
MASK_64: constant(uint256) = 2**64 - 1
NO_SLOT: constant(uint256) = max_value(uint256)

# a round's slot: opens 40 | closes 40 | grace 32 | items 16 | seats 32 | own seats 32 | flags and winner
GRACE: constant(uint256) = 80
ITEMS: constant(uint256) = 112
TAKEN: constant(uint256) = 128              # seats given by batches
OWN: constant(uint256) = 160                # seats given by signed ballots
CLAIMED: constant(uint256) = 1 << 192       # some seats of the round were claimed
FINAL: constant(uint256) = 1 << 193
WINNER: constant(uint256) = 200             # 16 bits: the winner's place

# an item's slot: ballots with bit 0 (64) | with bit 1 (64) | with both (64) | flags
ITEM: constant(uint256) = 1 << 192
BATTLE: constant(uint256) = 1 << 193
EVERY_FIELD: constant(uint256) = 1 | (1 << 64) | (1 << 128)

# 112 pairs of bits, and what counts them
ONES: constant(uint256) = (2**224 - 1) // 3
PAIRS: constant(uint256) = max_value(uint256) // 5
NIBBLES: constant(uint256) = max_value(uint256) // 17
BYTES: constant(uint256) = max_value(uint256) // 255

HALF_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168
ACCEPTED: constant(bytes4) = 0x1626ba7e     # EIP-1271
ASKING: constant(uint256) = 1_000_000       # gas that a smart account may use to answer
DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
# each names the wallet: keys that own several accounts sign for one of them only
LINK_TYPE: constant(bytes32) = keccak256("Link(address wallet,bytes32 voterId,uint256 nonce,uint256 deadline)")
UNLINK_TYPE: constant(bytes32) = keccak256("Unlink(address wallet,bytes32 voterId,uint256 nonce,uint256 deadline)")
CHOICE_TYPE: constant(bytes32) = keccak256("Choice(uint256 video,uint256 choice)")
BALLOT_TYPE: constant(bytes32) = keccak256(
    "Ballot(address wallet,uint256 round,Choice[] choices,uint256 nonce,uint256 deadline)"
    "Choice(uint256 video,uint256 choice)"
)

DATASET: constant(uint256) = 1              # kinds of commitments
RELEASE: constant(uint256) = 2

name: public(constant(String[10])) = "VoteLedger"
version: public(constant(String[8])) = "2"

# ---------------------------------------------------------------------- types

struct Choice:
    video: uint256                          # the number of a video or battle
    choice: uint256                         # 0 withdrawn; 1 up, 2 down; of a battle 1 A, 2 B, 3 tie

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
    grace: uint256
    meta: bytes32

event VideoAdded:
    video: indexed(uint256)
    round: indexed(uint256)
    key: indexed(bytes32)
    prompt_hash: bytes32
    content_hash: bytes32
    model_hash: bytes32
    playback_id: String[128]

event BattleAdded:
    battle: indexed(uint256)
    round: indexed(uint256)
    key: indexed(bytes32)
    prompt_hash: bytes32
    content_a: bytes32
    content_b: bytes32
    sides: bytes32

event BattleRevealed:
    battle: indexed(uint256)
    model_a: bytes32
    model_b: bytes32
    salt: bytes32

event VotersRegistered:
    first: indexed(uint256)
    voter_ids: DynArray[bytes32, MAX_VOTERS]

event VotesRecorded:
    seq: indexed(uint256)
    round: indexed(uint256)
    at: uint256
    first_seat: uint256
    arrivals: DynArray[uint256, MAX_WORDS]
    words: DynArray[uint256, MAX_WORDS]

event BallotCast:
    voter: indexed(uint256)
    round: indexed(uint256)
    wallet: indexed(address)
    at: uint256
    seat: uint256
    choices: DynArray[Choice, MAX_CHOICES]
    nonce: uint256
    deadline: uint256
    signature: Bytes[MAX_SIGNATURE]

event SeatClaimed:
    voter: indexed(uint256)
    round: indexed(uint256)
    seat: uint256

event WalletLinked:
    voter: indexed(uint256)
    wallet: indexed(address)
    nonce: uint256

event WalletUnlinked:
    voter: indexed(uint256)
    wallet: indexed(address)
    nonce: uint256

event RoundClosed:
    round: indexed(uint256)
    closes: uint256
    grace: uint256

event RoundFinalized:
    round: indexed(uint256)
    winner: indexed(uint256)
    up: uint256
    down: uint256

event BattleDecided:
    battle: indexed(uint256)
    outcome: uint256
    a: uint256
    b: uint256
    ties: uint256

event Committed:
    number: indexed(uint256)
    kind: indexed(uint256)
    root: indexed(bytes32)
    parent: uint256
    meta: bytes32

# -------------------------------------------------------------------- storage

owner: public(address)
pending_owner: public(address)
guardian: public(address)
paused: public(bool)
is_relayer: public(HashMap[address, bool])

rounds_count: public(uint256)
seq: public(uint256)                        # the number that the next batch must carry
digest: public(bytes32)                     # keccak256(digest before, round, arrivals, words) over every batch
signed_count: public(uint256)
signed_digest: public(bytes32)              # the same over signed ballots: digest before, wallet, what was signed
commitments_count: public(uint256)

round_of: public(HashMap[bytes32, uint256])
video_of: public(HashMap[bytes32, uint256])  # of battles too
voter_index: public(HashMap[bytes32, uint256])

rounds: HashMap[uint256, uint256]           # as said above
items: HashMap[uint256, uint256]            # round << 10 | place: as said above
ballots: HashMap[uint256, uint256]          # round << 32 | place << 22 | slot -> 112 choices of 2 bits
sides: HashMap[uint256, bytes32]            # battle -> keccak256(model A, model B, salt); empty once revealed

voters: uint256                             # how many | how many are linked << 32
seated: HashMap[uint256, uint256]           # round << 32 | voter index >> 8 -> a bit for each
linked: HashMap[uint256, uint256]           # voter index >> 8 -> a bit for each
rolls: public(HashMap[uint256, bytes32])    # round << 32 | first seat -> keccak256 of the arrivals that it begins
claimed: HashMap[uint256, uint256]          # round << 32 | slot -> two bits for each seat that a wallet has claimed
own_seats: HashMap[uint256, uint256]        # round << 32 | voter index -> seat + 1, of linked voters
wallets: HashMap[address, uint256]          # voter index | last nonce << 32
wallet_of: public(HashMap[uint256, address])

commitments: HashMap[uint256, bytes32]
commitment_of: public(HashMap[bytes32, uint256])  # keccak256(kind, root) -> number
commitment_about: HashMap[uint256, uint256]  # kind | parent << 8

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
    @param relayer The account.
    @param allowed Whether it may write from now on.
    """
    assert msg.sender == self.owner, "ledger: not the owner"
    self.is_relayer[relayer] = allowed
    log RelayerSet(relayer=relayer, allowed=allowed)

@external
def set_guardian(guardian: address):
    """
    @notice Names the account that may pause.
    @param guardian The account; the zero address leaves pausing to the owner.
    """
    assert msg.sender == self.owner, "ledger: not the owner"
    self.guardian = guardian
    log GuardianSet(guardian=guardian)

@external
def pause():
    """
    @notice Stops every writing, at once, but for the roles, which the owner can still change. The guardian can only
            stop: what is recorded stays as it is, and no round gets more time.
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
    """
    @dev Only relayers write for others, and nobody while the ledger is paused.
    """
    assert self.is_relayer[msg.sender], "ledger: not a relayer"
    assert not self.paused, "ledger: paused"

# ------------------------------------------------------- rounds, videos, battles

@external
def open_round(key: bytes32, opens: uint64, closes: uint64, grace: uint32, meta: bytes32) -> uint256:
    """
    @notice Opens a round of voting.
    @param key The writer's name of the round: a second round of the same name is refused.
    @param opens Second since the epoch from which votes count.
    @param closes Second from which members' votes no longer do; `close_round` can bring it forward, never back.
    @param grace Seconds after that, at most a day, in which batches may still bring what was done before; signed
           ballots may not.
    @param meta Hash of the round's description, kept off chain.
    @return The round's number, from 1.
    """
    self._check_writer()
    assert key != empty(bytes32), "ledger: no key"
    assert self.round_of[key] == 0, "ledger: round exists"
    start: uint256 = convert(opens, uint256)
    end: uint256 = convert(closes, uint256)
    assert convert(grace, uint256) <= MAX_GRACE, "ledger: grace too long"
    assert start < end and end < 2**40 and block.timestamp < end + convert(grace, uint256), "ledger: bad times"
    round: uint256 = self.rounds_count + 1
    assert round < 2**32, "ledger: too many rounds"
    self.rounds_count = round
    self.round_of[key] = round
    self.rounds[round] = start | (end << 40) | (convert(grace, uint256) << GRACE)
    log RoundOpened(round=round, key=key, opens=start, closes=end, grace=convert(grace, uint256), meta=meta)
    return round

@internal
@pure
def _end(about: uint256) -> uint256:
    """
    @dev The second from which nothing at all is accepted.
    """
    return ((about >> 40) & MASK_40) + ((about >> GRACE) & MASK_32)

@internal
def _add_item(key: bytes32, round: uint256, kind: uint256) -> uint256:
    """
    @dev Gives a video or battle the round's next place; its number is round << 10 | place.
    """
    self._check_writer()
    assert key != empty(bytes32), "ledger: no key"
    assert self.video_of[key] == 0, "ledger: video exists"
    about: uint256 = self.rounds[round]
    assert about != 0, "ledger: unknown round"
    assert block.timestamp < self._end(about), "ledger: round closed"
    place: uint256 = ((about >> ITEMS) & MASK_16) + 1
    assert place <= MAX_ITEMS, "ledger: round full"
    item: uint256 = (round << 10) | place
    self.video_of[key] = item
    self.items[item] = kind
    self.rounds[round] = about + (1 << ITEMS)
    return item

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
    @notice Enters a video into a round, until its grace is over: one that was shown before the close may come late, as
            the votes on it may. The block of its entry tells which did.
    @param key The writer's name of the video: a second video or battle of the same name is refused.
    @param round The round's number.
    @param prompt_hash SHA-256 of the prompt's UTF-8 text.
    @param content_hash SHA-256 of the video file.
    @param model_hash Hash that names the model and its revision.
    @param playback_id Where the video host plays it.
    @return The video's number: the round's number times 1024 plus its place in the round, from 1.
    """
    video: uint256 = self._add_item(key, round, ITEM)
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
def add_battle(
    key: bytes32, round: uint256, prompt_hash: bytes32, content_a: bytes32, content_b: bytes32, sides: bytes32
) -> uint256:
    """
    @notice Enters a blind battle into a round, as long as a video: two videos of one prompt, of which members choose
            the better.
    @param key The writer's name of the battle: a second video or battle of the same name is refused.
    @param round The round's number.
    @param prompt_hash SHA-256 of the prompt's UTF-8 text.
    @param content_a SHA-256 of the video file shown as A.
    @param content_b SHA-256 of the video file shown as B.
    @param sides keccak256(model A, model B, salt), fixed before the first vote and opened by `reveal_battle`.
    @return The battle's number, in one row with the round's videos.
    """
    assert sides != empty(bytes32), "ledger: no sides"
    battle: uint256 = self._add_item(key, round, ITEM | BATTLE)
    self.sides[battle] = sides
    log BattleAdded(
        battle=battle,
        round=round,
        key=key,
        prompt_hash=prompt_hash,
        content_a=content_a,
        content_b=content_b,
        sides=sides,
    )
    return battle

@external
def reveal_battle(battle: uint256, model_a: bytes32, model_b: bytes32, salt: bytes32):
    """
    @notice Says which model was A and which was B, once the round is closed. Anyone who knows the salt may.
    @param battle The battle's number.
    @param model_a Hash that names the model and revision of A.
    @param model_b Hash that names the model and revision of B.
    @param salt The secret that kept `sides` from being guessed.
    """
    assert not self.paused, "ledger: paused"
    sides: bytes32 = self.sides[battle]
    assert sides != empty(bytes32), "ledger: nothing to reveal"
    assert block.timestamp >= self._end(self.rounds[battle >> 10]), "ledger: round open"
    assert sides == keccak256(abi_encode(model_a, model_b, salt)), "ledger: other sides"
    self.sides[battle] = empty(bytes32)
    log BattleRevealed(battle=battle, model_a=model_a, model_b=model_b, salt=salt)

# ------------------------------------------------------------ voters and batches

@external
def register(voter_ids: DynArray[bytes32, MAX_VOTERS]):
    """
    @notice Gives each voter the next index, for life.
    @param voter_ids Pseudonyms, each new; one that is known already is refused with the whole list.
    """
    self._check_writer()
    assert len(voter_ids) != 0, "ledger: empty list"
    about: uint256 = self.voters
    index: uint256 = about & MASK_32
    log VotersRegistered(first=index + 1, voter_ids=voter_ids)
    for voter_id: bytes32 in voter_ids:
        assert voter_id != empty(bytes32), "ledger: no voter id"
        assert self.voter_index[voter_id] == 0, "ledger: voter exists"
        index = unsafe_add(index, 1)
        self.voter_index[voter_id] = index
    assert index < 2**31, "ledger: too many voters"
    self.voters = ((about >> 32) << 32) | index

@external
def batch(
    expected_seq: uint256,
    round: uint256,
    arrivals: DynArray[uint256, MAX_WORDS],
    words: DynArray[uint256, MAX_WORDS],
):
    """
    @notice Records votes of one round, in order: the last choice of a seat about a video counts. All or nothing.
    @param expected_seq Must equal `seq`, so that a batch that is sent twice is recorded once.
    @param round The round's number.
    @param arrivals Voters who take the round's next seats, as described at the top; may be empty.
    @param words What seats choose, as described at the top; not empty.
    """
    self._check_writer()
    assert expected_seq == self.seq, "ledger: wrong sequence"
    assert len(words) != 0, "ledger: empty batch"
    self.seq = unsafe_add(expected_seq, 1)
    about: uint256 = self.rounds[round]
    assert about != 0, "ledger: unknown round"
    assert block.timestamp >= about & MASK_40, "ledger: round not open"
    assert block.timestamp < self._end(about), "ledger: round closed"
    first: uint256 = (about >> TAKEN) & MASK_32
    seats: uint256 = first
    if len(arrivals) != 0:
        seats = self._seat(round, first, arrivals)
        self.rounds[round] = about + ((seats - first) << TAKEN)
        self.rolls[(round << 32) | first] = keccak256(abi_encode(arrivals))
    some_claimed: bool = about & CLAIMED != 0
    item: uint256 = 0                       # the item at hand, and its slot as it was read and as it is now
    before: uint256 = 0
    now: uint256 = 0
    for word: uint256 in words:
        choices: uint256 = word & CHOICES
        assert choices != 0, "ledger: empty word"
        slot: uint256 = (word >> 224) & (2**22 - 1)
        base: uint256 = unsafe_mul(slot, SEATS)
        assert base < seats, "ledger: unknown seat"
        if unsafe_sub(seats, base) < SEATS:
            assert choices >> unsafe_mul(2, unsafe_sub(seats, base)) == 0, "ledger: unknown seat"
        if some_claimed:
            assert choices & self.claimed[(round << 32) | slot] == 0, "ledger: seat claimed"
        here: uint256 = (round << 10) | (word >> 246)
        if here != item:
            if now != before:
                self.items[item] = now
            item = here
            before = self.items[item]
            assert before != 0, "ledger: unknown video"
            now = before
        now = self._choose(now, (round << 32) | (word >> 224), choices)
    if now != before:
        self.items[item] = now
    self.digest = keccak256(abi_encode(self.digest, round, arrivals, words))
    log VotesRecorded(
        seq=expected_seq, round=round, at=block.timestamp, first_seat=first, arrivals=arrivals, words=words
    )

@internal
def _seat(round: uint256, first: uint256, arrivals: DynArray[uint256, MAX_WORDS]) -> uint256:
    """
    @dev Seats voters from `first` on; gives the number of seats that are then taken. A voter has one seat a round.
    """
    voters: uint256 = self.voters
    some_linked: bool = voters >> 32 != 0
    voters = voters & MASK_32
    seats: uint256 = first
    key: uint256 = NO_SLOT                  # the slot of 256 voters at hand
    old: uint256 = 0
    current: uint256 = 0
    out_of_reach: uint256 = 0
    for word: uint256 in arrivals:
        # `claim` finds a seat by its place in the list: only the last word may be padded
        assert unsafe_sub(seats, first) & 7 == 0, "ledger: malformed stream"
        assert word >> 224 != 0, "ledger: malformed stream"
        right: uint256 = 256
        for _: uint256 in range(8):
            right = unsafe_sub(right, 32)
            index: uint256 = (word >> right) & MASK_32
            if index == 0:
                assert word << unsafe_sub(256, right) == 0, "ledger: malformed stream"
                break
            assert index <= voters, "ledger: unknown voter"
            slot: uint256 = (round << 32) | (index >> 8)
            if slot != key:
                if current != old:
                    self.seated[key] = current
                key = slot
                old = self.seated[slot]
                current = old
                if some_linked:
                    out_of_reach = self.linked[index >> 8]
            bit: uint256 = 1 << (index & 255)
            assert current & bit == 0, "ledger: voter seated"
            assert out_of_reach & bit == 0, "ledger: voter linked"
            current = current | bit
            seats = unsafe_add(seats, 1)
    if current != old:
        self.seated[key] = current
    assert seats < OWN_SEATS, "ledger: round full"
    return seats

@internal
def _choose(tally: uint256, key: uint256, choices: uint256) -> uint256:
    """
    @dev Writes choices into a slot of ballots, and gives the item's slot with the tally that follows.
    """
    named: uint256 = (choices | (choices >> 1)) & ONES
    set: uint256 = choices
    if tally & BATTLE == 0:                 # 3 withdraws
        set = choices ^ unsafe_mul(choices & (choices >> 1) & ONES, 3)
    old: uint256 = self.ballots[key]
    new: uint256 = (old & (CHOICES ^ unsafe_mul(named, 3))) | set
    if new == old:
        return tally
    self.ballots[key] = new
    # counting the ones that are there now, and the zeros that were there before, gives the difference plus 112
    change: uint256 = self._count((new & ONES) | (((old & ONES) ^ ONES) << 1))
    change = change | (self._count(((new >> 1) & ONES) | ((((old >> 1) & ONES) ^ ONES) << 1)) << 64)
    if tally & BATTLE == 0:
        return unsafe_sub(unsafe_add(tally, change), SEATS * (1 | (1 << 64)))
    both: uint256 = old & (old >> 1) & ONES
    change = change | (self._count((new & (new >> 1) & ONES) | ((both ^ ONES) << 1)) << 128)
    return unsafe_sub(unsafe_add(tally, change), SEATS * EVERY_FIELD)

@internal
@pure
def _count(bits: uint256) -> uint256:
    """
    @dev How many of at most 255 bits are set: sums of pairs, of nibbles, of bytes, and of all bytes by one product.
    """
    sums: uint256 = unsafe_sub(bits, (bits >> 1) & ONES)
    sums = unsafe_add(sums & PAIRS, (sums >> 2) & PAIRS)
    sums = unsafe_add(sums, sums >> 4) & NIBBLES
    return unsafe_mul(sums, BYTES) >> 248

# ------------------------------------------------------------ wallets and signatures

@external
@view
def domain_separator() -> bytes32:
    """
    @notice The EIP-712 domain of what wallets sign: name, version, chain and this contract.
    @return Its hash; computed each time, so that it is right also after a fork of the chain.
    """
    return self._domain()

@internal
@view
def _domain() -> bytes32:
    """
    @dev EIP-712: the hash of the domain.
    """
    return keccak256(abi_encode(DOMAIN_TYPE, keccak256(name), keccak256(version), chain.id, self))

@internal
@view
def _check_signed(
    wallet: address, nonce: uint256, deadline: uint256, content: bytes32, signature: Bytes[MAX_SIGNATURE]
):
    """
    @dev That a wallet signed this content (EIP-712), newly and in time. An account with code is asked (EIP-1271) by a
         static call: nothing can be written while it lasts, and nothing was written before it. Whatever it does, it
         costs the sender so much gas and no more.
    """
    assert block.timestamp <= deadline, "ledger: late"
    assert nonce > self.wallets[wallet] >> 32 and nonce < 2**64, "ledger: stale nonce"
    assert wallet != empty(address), "ledger: no wallet"
    hash: bytes32 = keccak256(concat(x"1901", self._domain(), content))
    if len(signature) == 65:
        s: uint256 = convert(extract32(signature, 32), uint256)
        v: uint256 = convert(slice(signature, 64, 1), uint256)
        if s <= HALF_ORDER and ecrecover(hash, v, convert(extract32(signature, 0), uint256), s) == wallet:
            return
    assert wallet.is_contract, "ledger: bad signature"
    ok: bool = False
    answer: Bytes[32] = b""
    ok, answer = raw_call(
        wallet,
        abi_encode(hash, signature, method_id=ACCEPTED),
        max_outsize=32,
        gas=ASKING,
        is_static_call=True,
        revert_on_failure=False,
    )
    assert ok and len(answer) == 32, "ledger: bad signature"
    assert convert(answer, bytes32) == convert(ACCEPTED, bytes32), "ledger: bad signature"

@external
def link(voter_id: bytes32, wallet: address, nonce: uint256, deadline: uint256, signature: Bytes[MAX_SIGNATURE]):
    """
    @notice Hands a voter's votes to a wallet. From now on the relayer cannot seat the voter; a seat that the voter has
            already is handed over by `claim`, with the choices made there. Only the wallet can undo it.
    @param voter_id The voter's pseudonym, registered.
    @param wallet An account, or a smart account, that no other voter has linked.
    @param nonce Any number above the wallet's last one.
    @param deadline Second since the epoch after which this no longer counts.
    @param signature The wallet's, over Link(address wallet,bytes32 voterId,uint256 nonce,uint256 deadline).
    """
    self._check_writer()
    content: bytes32 = keccak256(abi_encode(LINK_TYPE, wallet, voter_id, nonce, deadline))
    self._check_signed(wallet, nonce, deadline, content, signature)
    index: uint256 = self.voter_index[voter_id]
    assert index != 0, "ledger: unknown voter"
    assert self.wallet_of[index] == empty(address), "ledger: voter linked"
    assert self.wallets[wallet] & MASK_32 == 0, "ledger: wallet linked"
    self.wallet_of[index] = wallet
    self.wallets[wallet] = index | (nonce << 32)
    self.linked[index >> 8] |= 1 << (index & 255)
    self.voters += 1 << 32
    log WalletLinked(voter=index, wallet=wallet, nonce=nonce)

@external
def unlink(voter_id: bytes32, nonce: uint256, deadline: uint256, signature: Bytes[MAX_SIGNATURE]):
    """
    @notice Takes a link back; the relayer may seat the voter again, but not in a round where the wallet had a seat.
    @dev The wallet may send it itself, with nonce and deadline 0 and no signature.
    @param voter_id The voter's pseudonym.
    @param nonce Any number above the wallet's last one.
    @param deadline Second since the epoch after which this no longer counts.
    @param signature The wallet's, over Unlink(address wallet,bytes32 voterId,uint256 nonce,uint256 deadline).
    """
    assert not self.paused, "ledger: paused"
    index: uint256 = self.voter_index[voter_id]
    wallet: address = self.wallet_of[index]
    assert wallet != empty(address), "ledger: not linked"
    last: uint256 = self.wallets[wallet] >> 32
    if msg.sender != wallet:
        content: bytes32 = keccak256(abi_encode(UNLINK_TYPE, wallet, voter_id, nonce, deadline))
        self._check_signed(wallet, nonce, deadline, content, signature)
        last = nonce
    self.wallet_of[index] = empty(address)
    self.wallets[wallet] = last << 32
    self.linked[index >> 8] ^= 1 << (index & 255)
    self.voters -= 1 << 32
    log WalletUnlinked(voter=index, wallet=wallet, nonce=last)

@external
def claim(round: uint256, seat: uint256, first: uint256, arrivals: DynArray[uint256, MAX_WORDS]):
    """
    @notice Hands the seat that a linked voter has in a round to the wallet; the relayer's batches for it are refused
            from now on. Anyone may send it: the log tells all that is needed.
    @param round The round's number.
    @param seat The seat.
    @param first The first seat of the batch in which it was given.
    @param arrivals That batch's arrivals, whole.
    """
    assert not self.paused, "ledger: paused"
    # keys are put together from these numbers: larger ones would reach into other rounds
    assert self.rounds[round] != 0, "ledger: unknown round"
    assert first <= seat and seat < OWN_SEATS, "ledger: unknown seat"
    assert self.rolls[(round << 32) | first] == keccak256(abi_encode(arrivals)), "ledger: other arrivals"
    place: uint256 = seat - first
    assert place >> 3 < len(arrivals), "ledger: unknown seat"
    index: uint256 = (arrivals[place >> 3] >> (224 - ((place & 7) << 5))) & MASK_32
    assert self.wallet_of[index] != empty(address), "ledger: not linked"
    key: uint256 = (round << 32) | index
    assert self.own_seats[key] == 0, "ledger: seat claimed"
    self.own_seats[key] = seat + 1
    self.claimed[(round << 32) | (seat // SEATS)] |= 3 << ((seat % SEATS) << 1)
    self.rounds[round] |= CLAIMED
    log SeatClaimed(voter=index, round=round, seat=seat)

@external
def cast_signed(
    wallet: address,
    round: uint256,
    choices: DynArray[Choice, MAX_CHOICES],
    nonce: uint256,
    deadline: uint256,
    signature: Bytes[MAX_SIGNATURE],
):
    """
    @notice Records a ballot that a linked wallet signed, about any number of videos and battles of a round, until the
            round closes. Anyone may send it.
    @param wallet The account that signed.
    @param round The round's number.
    @param choices Number and choice of each: 0 withdrawn; 1 up, 2 down; of a battle 1 A, 2 B, 3 tie.
    @param nonce Any number above the wallet's last one: ballots with lower ones can no longer be sent.
    @param deadline Second since the epoch after which this no longer counts.
    @param signature The wallet's, over Choice(uint256 video,uint256 choice) within
           Ballot(address wallet,uint256 round,Choice[] choices,uint256 nonce,uint256 deadline).
    """
    assert not self.paused, "ledger: paused"
    hashes: DynArray[bytes32, MAX_CHOICES] = []
    for choice: Choice in choices:
        hashes.append(keccak256(abi_encode(CHOICE_TYPE, choice.video, choice.choice)))
    # EIP-712: an array is the hash of its members' hashes, without offset and length
    listed: bytes32 = keccak256(slice(abi_encode(hashes), 64, 32 * len(hashes)))
    content: bytes32 = keccak256(abi_encode(BALLOT_TYPE, wallet, round, listed, nonce, deadline))
    self._check_signed(wallet, nonce, deadline, content, signature)
    index: uint256 = self.wallets[wallet] & MASK_32
    assert index != 0, "ledger: not linked"
    assert len(choices) != 0, "ledger: empty ballot"
    about: uint256 = self.rounds[round]
    assert about != 0, "ledger: unknown round"
    assert block.timestamp >= about & MASK_40, "ledger: round not open"
    assert block.timestamp < (about >> 40) & MASK_40, "ledger: round closed"
    self.wallets[wallet] = index | (nonce << 32)
    seat: uint256 = self._own_seat(round, about, index)
    left: uint256 = (seat % SEATS) << 1
    slot: uint256 = (round << 32) | (seat // SEATS)
    for choice: Choice in choices:
        assert choice.video >> 10 == round, "ledger: unknown video"
        tally: uint256 = self.items[choice.video]
        assert tally != 0, "ledger: unknown video"
        key: uint256 = slot | ((choice.video & MASK_10) << 22)
        chosen: uint256 = choice.choice
        assert chosen < 4, "ledger: bad choice"
        if tally & BATTLE == 0:
            assert chosen != 3, "ledger: bad choice"
            if chosen == 0:
                chosen = 3
        if chosen == 0:
            self.items[choice.video] = self._withdraw_from_battle(tally, key, left)
        else:
            self.items[choice.video] = self._choose(tally, key, chosen << left)
    self.signed_count += 1
    self.signed_digest = keccak256(abi_encode(self.signed_digest, wallet, content))
    log BallotCast(
        voter=index,
        round=round,
        wallet=wallet,
        at=block.timestamp,
        seat=seat,
        choices=choices,
        nonce=nonce,
        deadline=deadline,
        signature=signature,
    )

@internal
def _own_seat(round: uint256, about: uint256, index: uint256) -> uint256:
    """
    @dev The seat of a linked voter, given with the first signed ballot. They lie apart from those of the relayer, which
         must know beforehand which seats a batch gives.
    """
    taken: uint256 = self.own_seats[(round << 32) | index]
    if taken != 0:
        return taken - 1
    key: uint256 = (round << 32) | (index >> 8)
    bit: uint256 = 1 << (index & 255)
    present: uint256 = self.seated[key]
    assert present & bit == 0, "ledger: seat not claimed"
    self.seated[key] = present | bit
    seat: uint256 = OWN_SEATS + ((about >> OWN) & MASK_32)
    assert seat < 2 * OWN_SEATS, "ledger: round full"
    self.own_seats[(round << 32) | index] = seat + 1
    self.rounds[round] = about + (1 << OWN)
    return seat

@internal
def _withdraw_from_battle(tally: uint256, key: uint256, left: uint256) -> uint256:
    """
    @dev Clears one ballot of a battle, for which a word has no code, and gives the item's slot that follows.
    """
    old: uint256 = self.ballots[key]
    was: uint256 = (old >> left) & 3
    if was == 0:
        return tally
    self.ballots[key] = old ^ (was << left)
    return tally - ((was & 1) | ((was >> 1) << 64) | ((was // 3) << 128))

# ---------------------------------------------------------------- the end of a round

@external
def close_round(round: uint256):
    """
    @notice Ends a round at once, before its time or within its grace: the relayer says that no more votes are to come.
    @param round The round's number.
    """
    self._check_writer()
    about: uint256 = self.rounds[round]
    assert about != 0, "ledger: unknown round"
    assert block.timestamp < self._end(about), "ledger: round closed"
    closes: uint256 = min((about >> 40) & MASK_40, block.timestamp)
    grace: uint256 = block.timestamp - closes
    self.rounds[round] = (about & ~(((1 << 72) - 1) << 40)) | (closes << 40) | (grace << GRACE)
    log RoundClosed(round=round, closes=closes, grace=grace)

@external
def finalize(round: uint256) -> uint256:
    """
    @notice Names the winner of a round after close and grace, once. Anyone may call it: the rule leaves no choice.
    @dev The best net score (up minus down) wins; then the most ups; then the lower number. Battles are decided too:
         the side with more votes, or a tie.
    @param round The round's number.
    @return The winning video's number, or 0 for a round in which nobody holds a vote on a video.
    """
    assert not self.paused, "ledger: paused"
    about: uint256 = self.rounds[round]
    assert about != 0, "ledger: unknown round"
    assert about & FINAL == 0, "ledger: round final"
    assert block.timestamp >= self._end(about), "ledger: round open"
    winner: uint256 = 0
    best_up: uint256 = 0
    best_down: uint256 = 0
    cast: uint256 = 0
    for place: uint256 in range(1, ((about >> ITEMS) & MASK_16) + 1, bound=MAX_ITEMS):
        item: uint256 = (round << 10) | place
        slot: uint256 = self.items[item]
        up: uint256 = slot & MASK_64
        down: uint256 = (slot >> 64) & MASK_64
        if slot & BATTLE != 0:
            self._decide(item, slot)
            continue
        # up - down > best_up - best_down, without negative numbers; places are in rising order of number
        cast += up + down
        net: uint256 = up + best_down
        best: uint256 = best_up + down
        if winner == 0 or net > best or (net == best and up > best_up):
            winner = item
            best_up = up
            best_down = down
    if cast == 0:
        winner = 0
    self.rounds[round] = about | FINAL | ((winner & MASK_10) << WINNER)
    log RoundFinalized(round=round, winner=winner, up=best_up, down=best_down)
    return winner

@internal
def _decide(battle: uint256, slot: uint256):
    """
    @dev Says how a battle ended: 1 A, 2 B, 3 a tie, 0 when nobody holds a vote.
    """
    a: uint256 = 0
    b: uint256 = 0
    ties: uint256 = 0
    a, b, ties = self._tally(slot)
    outcome: uint256 = 3
    if a + b + ties == 0:
        outcome = 0
    elif a > b:
        outcome = 1
    elif b > a:
        outcome = 2
    log BattleDecided(battle=battle, outcome=outcome, a=a, b=b, ties=ties)

# ---------------------------------------------------------------------- commitments

@external
def commit(kind: uint256, root: bytes32, parent: uint256, meta: bytes32) -> uint256:
    """
    @notice Fixes what a model was tuned on (a dataset) or what is in use (a release). Nothing is ever taken back.
    @param kind 1 for a dataset, 2 for a model release.
    @param root Root hash of what is committed to; the same of one kind a second time is refused.
    @param parent Number of the commitment of the same kind that this one continues; 0 for the first of a line.
    @param meta Hash of the description, kept off chain; of a release it names the dataset too.
    @return The commitment's number, from 1.
    """
    self._check_writer()
    assert kind == DATASET or kind == RELEASE, "ledger: unknown kind"
    assert root != empty(bytes32), "ledger: no root"
    key: bytes32 = keccak256(abi_encode(kind, root))
    assert self.commitment_of[key] == 0, "ledger: commitment exists"
    assert parent == 0 or self.commitment_about[parent] & 255 == kind, "ledger: unknown parent"
    number: uint256 = self.commitments_count + 1
    self.commitments_count = number
    self.commitment_of[key] = number
    self.commitments[number] = root
    self.commitment_about[number] = kind | (parent << 8)
    log Committed(number=number, kind=kind, root=root, parent=parent, meta=meta)
    return number

# -------------------------------------------------------------------- reading

@internal
@pure
def _tally(slot: uint256) -> (uint256, uint256, uint256):
    """
    @dev Ups, downs and ties: a ballot for a tie has both bits, so that it is in both counts.
    """
    ties: uint256 = (slot >> 128) & MASK_64
    return (slot & MASK_64) - ties, ((slot >> 64) & MASK_64) - ties, ties

@external
@view
def tally(video: uint256) -> (uint256, uint256, uint256):
    """
    @notice The votes on a video or battle.
    @param video Its number.
    @return How many chose up (A), how many chose down (B), and how many chose a tie, which only battles have.
    """
    return self._tally(self.items[video])

@external
@view
def kind_of(video: uint256) -> uint256:
    """
    @notice What a number names.
    @param video The number.
    @return 0 nothing, 1 a video, 2 a battle.
    """
    slot: uint256 = self.items[video]
    if slot & BATTLE != 0:
        return 2
    return slot >> 192

@external
@view
def vote_of(video: uint256, seat: uint256) -> uint256:
    """
    @notice What a seat chooses about a video or battle now.
    @param video The number of the video or battle.
    @param seat The seat in its round.
    @return 0 nothing or withdrawn, 1 up, 2 down; of a battle 1 A, 2 B, 3 tie.
            0 also where there is no such item or seat.
    """
    if self.items[video] == 0 or seat >= 2 * OWN_SEATS:
        return 0
    key: uint256 = ((video >> 10) << 32) | ((video & MASK_10) << 22) | (seat // SEATS)
    return (self.ballots[key] >> ((seat % SEATS) << 1)) & 3

@external
@view
def round_info(round: uint256) -> (uint256, uint256, uint256, uint256, uint256, bool, uint256):
    """
    @notice What is known of a round; all zero for a round that does not exist.
    @param round The round's number.
    @return opens, closes (seconds since the epoch), grace (seconds), how many videos and battles, how many seats were
            given by batches, whether it is final, the winner's number.
    """
    about: uint256 = self.rounds[round]
    place: uint256 = (about >> WINNER) & MASK_16
    winner: uint256 = 0
    if place != 0:
        winner = (round << 10) | place
    return (
        about & MASK_40,
        (about >> 40) & MASK_40,
        (about >> GRACE) & MASK_32,
        (about >> ITEMS) & MASK_16,
        (about >> TAKEN) & MASK_32,
        about & FINAL != 0,
        winner,
    )

@external
@view
def voters_count() -> uint256:
    """
    @notice How many voters are registered.
    @return Their number; indices run from 1 to it.
    """
    return self.voters & MASK_32

@external
@view
def linked_count() -> uint256:
    """
    @notice How many voters have linked a wallet now.
    @return Their number.
    """
    return self.voters >> 32

@external
@view
def is_seated(round: uint256, index: uint256) -> bool:
    """
    @notice Whether a voter has a seat in a round.
    @param round The round's number.
    @param index The voter's index.
    @return True from the first vote on, however it was cast.
    """
    if self.rounds[round] == 0 or index > MASK_32:
        return False
    return (self.seated[(round << 32) | (index >> 8)] >> (index & 255)) & 1 != 0

@external
@view
def own_seat(round: uint256, index: uint256) -> (bool, uint256):
    """
    @notice The seat in which a linked voter votes by signature.
    @param round The round's number.
    @param index The voter's index.
    @return Whether there is one, and its number.
    """
    if self.rounds[round] == 0 or index > MASK_32:
        return False, 0
    seat: uint256 = self.own_seats[(round << 32) | index]
    if seat == 0:
        return False, 0
    return True, seat - 1

@external
@view
def voter_of(wallet: address) -> (uint256, uint256):
    """
    @notice Whose votes a wallet signs.
    @param wallet The account.
    @return The voter's index (0 for none), and the wallet's last nonce.
    """
    about: uint256 = self.wallets[wallet]
    return about & MASK_32, about >> 32

@external
@view
def commitment(number: uint256) -> (uint256, bytes32, uint256):
    """
    @notice What was committed to.
    @param number The commitment's number.
    @return kind (0 for a number that was not given), root, parent.
    """
    about: uint256 = self.commitment_about[number]
    return about & 255, self.commitments[number], about >> 8
