"""A second auditor of a FLock ledger, to be read whole by whoever uses it: `standalone.py --rpc URL --ledger ADDRESS`.

It needs nothing of FLock: plain JSON-RPC, and Keccak-256 (`pip install "eth-hash[pycryptodome]"`). It checks that the
genuine code made the ledger, that the log is what was sent, that tallies and winners follow, that the getters agree.
Exit codes: 0 agrees, 1 differs, 2 cannot tell.
"""

# ruff: noqa: D103, D204, E701, S310, SIM905, T201
# fmt: off
import argparse
import json
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

from eth_hash.auto import keccak

# Keccak-256 of the contract's code, and of the code that makes it: compile VoteLedger.vy to see that they are right.
RUNTIME = "294a52578351bb3a12ac6b1eb76a1f71cd43796933ad22c624ab866ff8bb00cc"
CREATION, ROLES = "32fceef8e3ddca6440ef5b246180c8cbb49fba16dd717fdc9844d7d01526f38a", 2 + 2 * 23425  # its digits
SEATS, BATCH, BLOCKS = 112, 50, 10_000
CHOICE = b"Choice(uint256 video,uint256 choice)"
BALLOT = b"Ballot(address wallet,uint256 round,Choice[] choices,uint256 nonce,uint256 deadline)" + CHOICE
KINDS = "uint256 bytes32 address bool string bytes bytes32[] uint256[] (uint256,uint256)[]".split()  # u h a b s B H U C
SIGNATURES = """OwnershipTransferStarted:aa OwnershipTransferred:aa RelayerSet:ab GuardianSet:a PauseSet:ab
RoundOpened:uhuuuh VideoAdded:uuhhhhs BattleAdded:uuhhhhh BattleRevealed:uhhh VotersRegistered:uH VotesRecorded:uuuuUU
BallotCast:uuauuCuuB SeatClaimed:uuu WalletLinked:uau WalletUnlinked:uau RoundClosed:uuu RoundFinalized:uuuu
BattleDecided:uuuuu Committed:uuhuh"""
WRITTEN = [each.partition(":") for each in SIGNATURES.split()]
TYPED = {name: ",".join(KINDS["uhabsBHUC".index(kind)] for kind in kinds) for name, _, kinds in WRITTEN}
EVENTS = {"0x" + keccak(f"{name}({types})".encode()).hex(): name for name, types in TYPED.items()}
ZERO = """pending_owner paused rounds_count voters_count linked_count seq signed_count commitments_count digest
signed_digest"""

def pack(*numbers: int) -> bytes: return b"".join(number.to_bytes(32, "big") for number in numbers)
def words(data: str) -> list[int]: return [int(data[at : at + 64].ljust(64, "0"), 16) for at in range(0, len(data), 64)]

def listed(e: list[int], indexed: int, at: int, width: int = 1) -> list[int]:
    """Return the members of the array whose offset is field `at` of an event with so many indexed fields."""
    start = indexed + e[at] // 32
    return [e[place] for place in range(start + 1, start + 1 + width * e[start])]

class Audit:
    """The answers of the getters that follow from a ledger's log; problems and doubts are sentences."""
    def __init__(self, ask: Callable[[list[tuple[str, list[Any]]]], list[Any]], ledger: str, since: int = 0) -> None:
        self.ask, self.ledger, self.problems, self.doubts = ask, ledger.lower(), list[str](), list[str]()
        self.rounds, self.items = dict[int, dict[str, Any]](), dict[int, dict[str, Any]]()
        self.getters: dict[tuple[Any, ...], list[int]] = {(f"{name}()",): [0] for name in ZERO.split()}
        self.chain, head = (int(each, 16) for each in ask([("eth_chainId", []), ("eth_blockNumber", [])]))
        self.head, logs = hex(head), list[Any]()
        code = bytes.fromhex(ask([("eth_getCode", [ledger, self.head])])[0][2:])
        if keccak(code).hex() != RUNTIME: raise ValueError("the code there is not the ledger's")
        for first in range(since, head + 1, BLOCKS):
            where = {"address": ledger, "fromBlock": hex(first), "toBlock": hex(min(head, first + BLOCKS - 1))}
            logs += ask([("eth_getLogs", [where])])[0]
        self.read(logs)
        self.getters |= {("tally(uint256)", item): self.tally(item) for item in self.items}
        calls = ["0x" + (keccak(name.encode())[:4] + pack(*given)).hex() for name, *given in self.getters]
        answers = self.ask([("eth_call", [{"to": self.ledger, "data": call}, self.head]) for call in calls])
        for (name, *given), expected, answer in zip(self.getters, self.getters.values(), answers, strict=True):
            self.check(words(answer[2:]) == expected, f"{name} of {given} is not {expected}, as by the log.")

    def check(self, holds: bool, sentence: str) -> None: self.problems += [] if holds else [sentence]

    def read(self, logs: list[dict[str, Any]]) -> None:
        """Take the log event by event, each with its transaction and its block."""
        hashes, numbers = ([*dict.fromkeys(log[name] for log in logs)] for name in ("transactionHash", "blockNumber"))
        sent = dict(zip(hashes, self.ask([("eth_getTransactionByHash", [tx]) for tx in hashes]), strict=True))
        blocks = dict(zip(numbers, self.ask([("eth_getBlockByNumber", [n, False]) for n in numbers]), strict=True))
        if lost := [key for key, answer in (sent | blocks).items() if not answer] or ([] if logs else ["the first"]):
            self.doubts.append(f"The node no longer has {len(lost)} transactions or blocks, such as {lost[0]}.")
        for log in logs:
            name, tx, block = EVENTS.get(log["topics"][0], ""), sent[log["transactionHash"]], blocks[log["blockNumber"]]
            what = f"{name} in {log['transactionHash']}"
            self.check(not block or log["transactionHash"] in block["transactions"], f"{what} is not in its block.")
            try:
                e = words("".join(topic[2:] for topic in log["topics"][1:]) + log["data"][2:])
                if tx and log is logs[0]:
                    self.creation(tx, logs)
                if tx and name not in ("OwnershipTransferred", "WalletUnlinked"):  # hashes, accounts, ballots: in order
                    call = iter([int(tx["from"], 16), *words(tx["input"][10 if tx["to"] else ROLES :])])
                    whole = len(e) > TYPED[name].count(",")
                    self.check(whole and all(word in call for word in e if word >> 64), f"{what} is not what was sent.")
                self.take(name, e, int(block["timestamp"], 16) if block else None, what)
            except (IndexError, KeyError, ValueError, OverflowError):
                self.problems.append(f"{what} cannot be.")

    def creation(self, tx: dict[str, Any], logs: list[dict[str, Any]]) -> None:
        """Look at the transaction that made the ledger: another constructor could have invented any history."""
        nonce = int(tx["nonce"], 16)
        rlp = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
        rlp = b"\x94" + bytes.fromhex(tx["from"][2:]) + (b"" if 0 < nonce < 128 else bytes([128 + len(rlp)])) + rlp
        made = "0x" + keccak(bytes([192 + len(rlp)]) + rlp)[12:].hex() == self.ledger and not tx["to"]
        genuine = keccak(bytes.fromhex(tx["input"][2:ROLES])).hex() == CREATION
        wrote = [EVENTS.get(log["topics"][0]) for log in logs if log["transactionHash"] == tx["hash"]]
        begins = wrote == ["OwnershipTransferred", "GuardianSet", "RelayerSet"]
        self.check(made and genuine and begins, "Other code made the ledger: its past cannot be believed.")

    def take(self, name: str, e: list[int], now: int | None, what: str) -> None:
        """Note what the getters answer after an event; `now` is the time of its block."""
        get = self.getters
        match name:
            case "OwnershipTransferStarted": get["pending_owner()",] = [e[1]]
            case "OwnershipTransferred": get["owner()",], get["pending_owner()",] = [e[1]], [0]
            case "GuardianSet": get["guardian()",] = [e[0]]
            case "PauseSet": get["paused()",] = [e[1]]
            case "RelayerSet": get["is_relayer(address)", e[0]] = [e[1]]
            case "RoundOpened":
                get["rounds_count()",], get["round_of(bytes32)", e[1]] = [e[0]], [e[0]]
                get["round_info(uint256)", e[0]] = info = [*e[2:5], 0, 0, 0, 0]  # times, items, seats, final, winner
                self.rounds[e[0]] = {"info": info, "task": e[5], "items": [], "seats": {}}
            case "VideoAdded" | "BattleAdded":
                get["video_of(bytes32)", e[2]], get["kind_of(uint256)", e[0]] = [e[0]], [1 + (name == "BattleAdded")]
                self.items[e[0]] = {"battle": name == "BattleAdded", "content": e[4], "votes": {}}
                self.rounds[e[1]]["items"] += [e[0]]
                self.rounds[e[1]]["info"][3] += 1
            case "VotersRegistered":
                get |= {("voter_index(bytes32)", voter): [e[0] + place] for place, voter in enumerate(listed(e, 1, 1))}
                get["voters_count()",] = [e[0] + len(listed(e, 1, 1)) - 1]
            case "VotesRecorded":
                about, arrivals, votes, seats = self.rounds[e[1]], listed(e, 2, 4), listed(e, 2, 5), range(SEATS)
                told = [e[1], 128, 160 + 32 * len(arrivals), len(arrivals), *arrivals, len(votes), *votes]
                get["digest()",] = words(keccak(pack(*get["digest()",], *told)).hex())
                voters = [voter for word in arrivals for at in range(224, -1, -32) if (voter := word >> at & 2**32 - 1)]
                about["seats"] |= {e[3] + place: voter for place, voter in enumerate(voters)}
                self.check(now in (None, e[2]) and [e[0]] == get["seq()",], f"{what} is out of turn or time.")
                get["seq()",], about["info"][4] = [e[0] + 1], about["info"][4] + len(voters)
                for word, seat in ((word, seat) for word in votes for seat in seats if word >> 2 * seat & 3):
                    voter = about["seats"][(word >> 224 & 2**22 - 1) * SEATS + seat]
                    self.items[e[1] << 10 | word >> 246]["votes"][voter] = word >> 2 * seat & 3
            case "BallotCast":
                pairs = [*zip(listed(e, 3, 5, 2)[::2], listed(e, 3, 5, 2)[1::2], strict=True)]
                choices = keccak(b"".join(keccak(keccak(CHOICE) + pack(*pair)) for pair in pairs))
                content = keccak(keccak(BALLOT) + pack(e[2], e[1]) + choices + pack(e[6], e[7]))
                get["signed_digest()",] = words(keccak(pack(*get["signed_digest()",], e[2]) + content).hex())
                get["signed_count()",][0] += 1
                get["voter_of(address)", e[2]], get["own_seat(uint256,uint256)", e[1], e[0]] = [e[0], e[6]], [1, e[4]]
                self.rounds[e[1]]["seats"][e[4]] = e[0]
                self.check(now in (None, e[3]), f"{what} is of another time.")
                for item, choice in pairs:
                    self.items[item]["votes"][e[0]] = choice
            case "SeatClaimed": get["own_seat(uint256,uint256)", e[1], e[0]] = [1, e[2]]
            case "WalletLinked" | "WalletUnlinked":
                linked = name == "WalletLinked"
                get["wallet_of(uint256)", e[0]], get["voter_of(address)", e[1]] = [e[1] * linked], [e[0] * linked, e[2]]
                get["linked_count()",][0] += 1 if linked else -1
            case "RoundClosed": self.rounds[e[0]]["info"][1:3] = e[1:]
            case "BattleDecided": self.check(e[2:] == self.tally(e[0]), f"{what} is not what the votes give.")
            case "RoundFinalized":
                self.rounds[e[0]]["info"][5:] = [1, e[1]]
                self.check(e[1:] == self.winner(e[0]), f"{what} has another winner than the votes.")
            case "Committed": get["commitments_count()",], get["commitment(uint256)", e[0]] = [e[0]], e[1:4]
            case _: self.check(name in EVENTS.values(), f"{what}: the ledger has no such event.")

    def tally(self, item: int) -> list[int]:
        choices = [*self.items[item]["votes"].values()]  # of a video 3 is no tie, but a vote withdrawn
        return [choices.count(1), choices.count(2), choices.count(3) * self.items[item]["battle"]]

    def winner(self, number: int) -> list[int]:
        """Return a round's winner and its votes: best net score, then most ups, then the lower number."""
        videos = [(item, *self.tally(item)) for item in self.rounds[number]["items"] if not self.items[item]["battle"]]
        best = min(videos, key=lambda each: (each[2] - each[1], -each[1], each[0]), default=(0, 0, 0))
        return [*best[:3]] if any(up or down for _, up, down, _ in videos) else [0, 0, 0]

    def text(self) -> str:
        end = "✗ This differs:" if self.problems else "? Nobody can tell:" if self.doubts else "✓ All agrees."
        lines = [end, *(f"  - {sentence}" for sentence in self.problems + self.doubts), f"  code 0x{RUNTIME}"]
        lines += [f"  chain {self.chain}, ledger {self.ledger}, block {int(self.head, 16)}"]
        lines += [f"  digest 0x{self.getters['digest()',][0]:064x}"]
        for number, about in self.rounds.items():
            opens, closes, *_, final, winner = about["info"]
            own = sum(key[:2] == ("own_seat(uint256,uint256)", number) for key in self.getters)
            lines += [f"Round {number}: opens {opens}, closes {closes}, winner {winner if final else 'unknown'}"]
            lines += [f"  task {about['task']:064x}", f"  voters {len(about['seats']) - own}, and {own} by wallet"]
            lines += [f"  {item}: {self.tally(item)}, {self.items[item]['content']:064x}" for item in about["items"]]
        return "\n".join(lines)

def main() -> int:
    parser = argparse.ArgumentParser()
    for name, default in (("--rpc", None), ("--ledger", None), ("--since", "0")):
        parser.add_argument(name, default=default, required=default is None)
    given = parser.parse_args()
    def ask(calls: list[tuple[str, list[Any]]]) -> list[Any]:
        asked = [{"jsonrpc": "2.0", "id": n, "method": name, "params": sent} for n, (name, sent) in enumerate(calls)]
        results: list[Any] = []
        for at in range(0, len(asked), BATCH):
            body, kind = json.dumps(asked[at : at + BATCH]).encode(), {"Content-Type": "application/json"}
            with urllib.request.urlopen(urllib.request.Request(given.rpc, body, kind), timeout=60) as answer:
                results += [each["result"] for each in sorted(json.load(answer), key=lambda each: int(each["id"]))]
        return results
    try:
        audit = Audit(ask, given.ledger, int(given.since))
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"Nothing can be told ({error!r}). Nodes may want a lower BATCH or BLOCKS in this file.", file=sys.stderr)
        return 2
    print(audit.text())
    return 1 if audit.problems else 2 if audit.doubts else 0

if __name__ == "__main__": raise SystemExit(main())
