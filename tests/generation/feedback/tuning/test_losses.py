"""The losses of drift and lean against the equations that they come from, and the channels that none looks at."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from generation.feedback.tuning import losses  # noqa: E402  # with torch

B = 6


def fields() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    dice = torch.Generator().manual_seed(0)
    v0, u = torch.randn(B, 5, 4, generator=dice), torch.randn(B, 5, 4, generator=dice)
    v = (v0 + 0.3 * torch.randn(B, 5, 4, generator=dice)).requires_grad_()
    return v, v0, u, torch.linspace(-0.9, 0.9, B)


def error(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).square().mean((1, 2))


def gradient(loss: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, v, retain_graph=True)[0]


def test_nft_is_the_regression_of_the_paper() -> None:
    """p |v0 + b delta - u|^2 + (1 - p) |v0 - b delta - u|^2, less what no weight changes, over b."""
    v, v0, u, scores = fields()
    drift, lean = losses.drift_and_lean(v, v0, u, None, 2)
    b, p = 0.05, (1 + scores) / 2
    delta = v - v0
    paper = p * error(v0 + b * delta, u) + (1 - p) * error(v0 - b * delta, u) - error(v0, u)
    ours = losses.nft(drift, lean, scores, beta=b)
    torch.testing.assert_close(ours, (paper / b).mean())
    torch.testing.assert_close(gradient(ours, v), gradient((paper / b).mean(), v))


def test_dpo_is_the_log_odds_of_the_better_video() -> None:
    """The difference of the errors' changes, winner first."""
    v, v0, u, _ = fields()
    drift, lean = losses.drift_and_lean(v, v0, u, None, 2)
    change = error(v, u) - error(v0, u)
    sure = torch.tensor([0.6, 0.75, 1.0])
    inside = -0.5 * 5.0 * (change[:3] - change[3:])
    paper = -(sure * inside.sigmoid().log() + (1 - sure) * (1 - inside.sigmoid()).log()).mean()
    torch.testing.assert_close(losses.dpo(drift, lean, sure, 5.0), paper)


def test_kto_and_sft_follow_the_error() -> None:
    """KTO by its equation; SFT has the plain error's gradient."""
    v, v0, u, scores = fields()
    drift, lean = losses.drift_and_lean(v, v0, u, None, 2)
    reward = -0.5 * 100 * (error(v, u) - error(v0, u))
    level = reward.mean().detach().clamp(min=0)
    paper = (scores.abs() * (1 - (scores.sign() * (reward - level)).sigmoid())).mean() / scores.abs().mean()
    torch.testing.assert_close(losses.kto(drift, lean, scores, 100.0), paper)
    torch.testing.assert_close(gradient(losses.sft(drift, lean), v), gradient(error(v, u).mean(), v))


def test_channels_that_are_left_out_change_no_loss() -> None:
    """Whatever is predicted there; in the others every number counts."""
    v, v0, u, _ = fields()
    channels = torch.tensor([0, 1, 2])
    drift, lean = losses.drift_and_lean(v, v0, u, channels, 2)
    loud = v.detach().clone()
    loud[..., 3] += 100
    torch.testing.assert_close(losses.drift_and_lean(loud, v0, u, channels, 2), (drift.detach(), lean.detach()))
    loud[..., 2] += 100
    assert not torch.allclose(losses.drift_and_lean(loud, v0, u, channels, 2)[0], drift)


def test_marks_of_the_place_are_seen_by_themselves() -> None:
    """Loud channels that are the same in every video are not looked at; where all differ, all are."""
    dice = torch.Generator().manual_seed(0)
    latents = torch.randn(12, 20, 6, generator=dice)
    assert losses.moving_channels(latents, 2) is None
    latents[..., 4:] = 12 * torch.randn(1, 20, 2, generator=dice) + 0.1 * torch.randn(12, 20, 2, generator=dice)
    moving = losses.moving_channels(latents, 2)
    assert moving is not None
    assert moving.tolist() == [0, 1, 2, 3]
    channels_first = latents.transpose(1, 2).unflatten(2, (5, 2, 2))
    moving = losses.moving_channels(channels_first, 1)
    assert moving is not None
    assert moving.tolist() == [0, 1, 2, 3]
    assert losses.moving_channels(latents[:1], 2) is None
