# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title What FLock began with: each member sends a transaction for each vote, and the contract counts by msg.sender
@license MIT
@notice Only measured (`make bench`), never deployed. Videos are named by their text ids.
"""

struct Tally:
    up: uint256
    down: uint256

event Voted:
    voter: indexed(address)
    video: String[64]
    up: bool

tallies: public(HashMap[String[64], Tally])
voted: public(HashMap[String[64], HashMap[address, bool]])

@external
def vote(video: String[64], up: bool):
    """
    @notice Votes once on a video.
    """
    assert not self.voted[video][msg.sender], "already voted"
    self.voted[video][msg.sender] = True
    if up:
        self.tallies[video].up += 1
    else:
        self.tallies[video].down += 1
    log Voted(voter=msg.sender, video=video, up=up)
