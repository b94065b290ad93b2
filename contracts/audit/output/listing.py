"""The rounds, videos and battles of a replayed log, as the report of an audit lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts.audit.replay import Replay
from contracts.audit.report import AuditReport, BattleAudit, RoundAudit, VideoAudit


def list_rounds(report: AuditReport, replay: Replay, numbers: Sequence[int], video_ids: Mapping[int, str]) -> None:
    """Add the rounds, videos and battles of the log to the report. `video_ids` are the database's, by ledger number."""
    for number in numbers:
        round_ = replay.rounds[number]
        round_videos = replay.videos_of(number)
        by_wallet = len(replay.by_wallet(number))
        report.rounds.append(
            RoundAudit(
                number, round_.opens, round_.closes, round_.grace, round_videos, len(round_.voters) - by_wallet,
                by_wallet, round_.winner, round_.finalized_tx, round_.meta.hex(),
            )
        )  # fmt: skip
        for place in round_videos:
            video = replay.videos[place]
            report.videos.append(
                VideoAudit(
                    number=place,
                    round=number,
                    up=video.tally.up,
                    down=video.tally.down,
                    content_hash=video.content_hash.hex(),
                    playback_id=video.playback_id,
                    tx=[video.tx, *dict.fromkeys(video.votes_txs)],
                    video_id=video_ids.get(place),
                    prompt_hash=video.prompt_hash.hex(),
                    model_hash=video.model_hash.hex(),
                )
            )
        for place in round_.items:
            if place in replay.battles:
                battle = replay.battles[place]
                model_a, model_b = (None, None) if battle.models is None else [model.hex() for model in battle.models]
                report.battles.append(
                    BattleAudit(
                        place,
                        number,
                        *battle.tally,
                        outcome=battle.outcome,
                        model_a=model_a,
                        model_b=model_b,
                        tx=[battle.tx, *dict.fromkeys(battle.votes_txs)],
                    )
                )
