# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title What FLock began with: each member sends a transaction for each vote, and is counted by msg.sender
@license MIT
@notice Measured by `make bench`, never deployed. Videos are named by their ids as text.
"""

event Voted:
    video: String[64]
    voter: indexed(address)
    choice: uint8

struct Tally:
    up: uint256
    down: uint256

tallies: public(HashMap[String[64], Tally])
choices: public(HashMap[String[64], HashMap[address, uint8]])  # 0 none yet, 1 up, 2 down


@external
def vote(video: String[64], choice: uint8):
    """
    @notice Votes once on a video: 1 up, 2 down.
    """
    assert choice == 1 or choice == 2, "voting: bad choice"
    assert self.choices[video][msg.sender] == 0, "voting: voted before"
    self.choices[video][msg.sender] = choice
    if choice == 1:
        self.tallies[video].up += 1
    else:
        self.tallies[video].down += 1
    log Voted(video=video, voter=msg.sender, choice=choice)
