"""The roles of a ledger by its log: who may change them, who may pause, who may write. Pure, no chain."""

from __future__ import annotations

from dataclasses import dataclass, field

from contracts.ledger.client import Event

NOBODY = "0x" + "0" * 40


@dataclass
class Roles:
    """The roles that follow from the events, and a sentence for everything in them that cannot be.

    `relayers` has every account that the log ever named, and if it may write now.
    """

    owner: str = NOBODY
    pending_owner: str = NOBODY
    guardian: str = NOBODY
    paused: bool = False
    relayers: dict[str, bool] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Take the next event; those of other matters change nothing here."""
        args = event.args
        match event.name:
            case "OwnershipTransferStarted":
                if args["previous_owner"] != self.owner:
                    self.problems.append(f"A change of owner was started by {args['previous_owner']}, who was none.")
                self.pending_owner = args["new_owner"]
            case "OwnershipTransferred":
                started = self.owner == NOBODY or self.pending_owner == args["new_owner"]
                if args["previous_owner"] != self.owner or not started:
                    self.problems.append(f"The ownership went to {args['new_owner']} without having been offered.")
                self.owner, self.pending_owner = args["new_owner"], NOBODY
            case "GuardianSet":
                self.guardian = args["guardian"]
            case "RelayerSet":
                self.relayers[args["relayer"]] = args["allowed"]
            case "PauseSet":
                if args["paused"] == self.paused:
                    self.problems.append(f"The ledger was {'paused' if self.paused else 'unpaused'} twice.")
                by = (self.guardian, self.owner) if args["paused"] else (self.owner,)
                if args["by"] not in by:
                    self.problems.append(f"{args['by']} changed the pause, which was not theirs to change.")
                self.paused = args["paused"]
