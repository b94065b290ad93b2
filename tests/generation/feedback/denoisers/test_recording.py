"""The mix of picture and noise at each step: a scheduler that is told the target goes straight to the picture."""

from __future__ import annotations

from typing import Any

import pytest

from generation.feedback.denoisers.families import FamilyError
from generation.feedback.denoisers.recording import mix_of, same

# What torch and diffusers warn of is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")


def schedulers() -> dict[str, Any]:
    import diffusers

    return {
        "flow": diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        "flow that runs backwards": diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
        "flow of UniPC": diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        "epsilon": diffusers.DDIMScheduler(clip_sample=False),
        "velocity": diffusers.CogVideoXDDIMScheduler(prediction_type="v_prediction"),
        "sample": diffusers.DDIMScheduler(prediction_type="sample", clip_sample=False),
    }


@pytest.mark.parametrize("kind", list(schedulers()))
def test_a_step_along_the_target_leads_to_the_picture(kind: str) -> None:
    """After one step of the pipeline's own scheduler the latents are the next mix of the same picture and noise.

    The same prediction with the other sign leads elsewhere.
    """
    import torch

    scheduler = schedulers()[kind]
    scheduler.set_timesteps(6)
    dice = torch.Generator().manual_seed(0)
    x0, z = torch.randn(2, 4, 3, generator=dice), torch.randn(2, 4, 3, generator=dice)
    mixes = [mix_of(scheduler, number, float(time)) for number, time in enumerate(scheduler.timesteps)]
    assert [mix.noise for mix in mixes] == sorted((mix.noise for mix in mixes), reverse=True)
    here, after = mixes[0], mixes[1]
    step = scheduler.step(here.target(x0, z), scheduler.timesteps[0], here.noisy(x0, z), return_dict=False)[0]
    torch.testing.assert_close(step, after.noisy(x0, z), rtol=2e-3, atol=2e-3)
    other = schedulers()[kind]
    other.set_timesteps(6)
    led = other.step(-here.target(x0, z), other.timesteps[0], here.noisy(x0, z), return_dict=False)[0]
    assert not torch.allclose(led, after.noisy(x0, z), rtol=0.1, atol=0.1)


def test_a_scheduler_of_another_kind_is_a_sentence() -> None:
    """It is not tuned as if it were one of those."""
    import diffusers

    with pytest.raises(FamilyError, match="cannot be tuned here"):
        mix_of(diffusers.DDIMScheduler(prediction_type="log_snr"), 0, 500.0)


def test_inputs_are_compared_by_what_they_hold() -> None:
    """Tensors by their numbers and kind, in lists and tables too."""
    import torch

    a = {"x": [torch.ones(2), 1], "y": None}
    assert same(a, {"x": [torch.ones(2), 1], "y": None})
    for other in ({"x": [torch.zeros(2), 1], "y": None}, {"x": [torch.ones(2, dtype=torch.int64), 1], "y": None}, {}):
        assert not same(a, other)
