"""What training is made of, tried in a process of its own: the autoencoder, the quick forward pass, going on."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.usefixtures("in_a_long_run")

SCRIPT = """
import json
import numpy as np, torch
from dataclasses import replace
from generation.tiny.training import decoder, denoiser, judge, text, vae, world
from generation.tiny.training.measure import seam_ratio
torch.manual_seed(0)
told, lessons = {}, []

# Autoencoder: components of 60 clips, then clips that it has not met, there and back.
dice = np.random.default_rng(1)
clips = np.concatenate([clips for _, clips in denoiser.make_clips(60, dice)])
parts = vae.Components(vae.to_tensor(clips))
model = vae.build_vae()
vae.write_weights(model, parts)
scenes = [world.random_scene(dice, unseen=True) for _ in range(8)]
fresh = vae.to_tensor(np.stack([world.render(scene, dice) for scene in scenes]))
with torch.no_grad():
    latents = vae.encode(model, fresh)
    back = vae.decode(model, latents)
told["quick"] = float((parts.encode(fresh) - latents).abs().max() / latents.std())
def psnr(clips):
    return float(10 * torch.log10(4 / (clips - fresh).square().mean()))
def seams(clips):
    return float(np.median([seam_ratio(frames) for frames in vae.to_frames(clips)]))
told["frames"] = list(back.shape)
told["at first"] = psnr(back), seams(back)
decoder.fit_decoder(model, parts, vae.to_tensor(clips), torch.Generator().manual_seed(3))
with torch.no_grad():
    back = vae.decode(model, latents)
told["fitted"] = psnr(back), seams(back)
decoder.train_decoder(model, parts, np.random.default_rng(4), 3, lambda done, of, note: lessons.append(note))
with torch.no_grad():
    trained = vae.decode(model, latents)
told["changed"] = float((trained - back).abs().mean())
told["lessons"] = [float(note.split()[-1]) for note in lessons]
readings = [judge.read(frames) for frames in vae.to_frames(back)]
told["read"] = sum(r.colour == s.colour and r.motion == s.motion for r, s in zip(readings, scenes))

# The quick forward pass against the class's own.
short = [replace(denoiser.ROUNDS[0], steps=40)] * 2
apprentice = denoiser.Apprentice(short, 4, 0)
model = apprentice.denoiser
torch.nn.init.normal_(model.proj_out.weight, std=0.1)
noisy, prompt, sigma = torch.randn(3, 80, vae.LATENTS), torch.randn(3, text.WIDTH), torch.rand(3)
turns = denoiser.angles(model, (5, 4, 4))
with torch.no_grad():
    quick = denoiser.predict(model, noisy, sigma, prompt, turns)
    own = model(
        hidden_states=noisy, encoder_hidden_states=prompt[:, None], timestep=sigma * 1000,
        encoder_attention_mask=torch.ones(3, 1), num_frames=5, height=4, width=4,
        rope_interpolation_scale=(4 / denoiser.RATE, vae.BLOCK, vae.BLOCK), return_dict=False,
    )[0]
told["forward"] = float((quick - own).abs().max() / own.std())

# Learning, and learning with an interruption.
rows = denoiser.facts(scenes)
def learn(apprentice, steps):
    return [apprentice.learn(latents, rows, turns) for _ in range(steps)]
torch.manual_seed(5)
whole = denoiser.Apprentice(short, 4, 0)
torch.manual_seed(5)
broken = denoiser.Apprentice(short, 4, 0)
losses = learn(whole, 40)
first = learn(broken, 3)
other = denoiser.Apprentice(short, 4, 0)
other.go_on_from(broken.state())
told["same"] = first + learn(other, 3) == losses[:6]
told["losses"] = [float(np.mean(losses[:5])), float(np.mean(losses[-5:]))]

# A second round begins from where the first has ended.
rates = []
def rate(apprentice):
    return apprentice.optimizers[0].param_groups[0]["lr"]
rates.append(rate(whole))
again = learn(whole, 20)
rates.append(rate(whole))
told["again"] = {"rates": rates, "losses": [float(np.mean(losses[-5:])), float(np.mean(again))]}

# The text encoder: forty captions' worth of lessons lower its loss, and its codes stand apart.
table = torch.cat(list(text.codes().values()))
told["codes"] = float((table @ table.T - torch.eye(len(table)) * (table[0] @ table[0])).abs().max())
said = []
text.train_encoder(text.build_encoder(), text.build_tokenizer(), np.random.default_rng(2), text.Lesson(50, 0.2, 0.5),
                   lambda done, of, note: said.append(note))
told["text"] = float(said[-1].split()[-1])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> dict:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_pictures_survive_the_autoencoder(told: dict) -> None:
    """Components written into the class's weights bring clips back, and the judge can read them."""
    assert told["frames"] == [8, 3, 17, 96, 96]
    assert told["at first"][0] > 22
    assert told["read"] >= 6  # of 8


def test_the_fit_takes_the_seams_away(told: dict) -> None:
    """At first each block is drawn by itself, and its borders show; few clips are enough to take them away."""
    (psnr, seams), (fitted_psnr, fitted_seams) = told["at first"], told["fitted"]
    assert seams > 2.5 > 2 > fitted_seams
    assert fitted_psnr > psnr - 2  # it knows the clips that it was fitted to, and these are others


def test_the_decoder_learns(told: dict) -> None:
    """Three lessons change what it draws, by little; a whole training is measured at the committed weights."""
    assert 0 < told["changed"] < 0.2
    assert 0 < told["lessons"][-1] < 1


def test_the_class_encodes_as_the_components_do(told: dict) -> None:
    """Its norms and SiLUs, which the components have not, change next to nothing."""
    assert told["quick"] < 0.03


def test_the_quick_forward_pass_is_the_denoisers_own(told: dict) -> None:
    """What is trained is what the pipeline runs."""
    assert told["forward"] < 1e-4


def test_learning_lowers_the_loss_and_can_be_interrupted(told: dict) -> None:
    """An interrupted training goes on with the very numbers of one that was not."""
    assert told["losses"][1] < told["losses"][0]
    assert told["same"]


def test_codes_stand_at_right_angles_and_can_be_learned(told: dict) -> None:
    """No attribute's value is mistaken for another's."""
    assert told["codes"] < 1e-3
    assert told["text"] < 3


def test_a_second_round_goes_on_from_the_first(told: dict) -> None:
    """Its rate rises again after the first has ended with next to none, and what was learned stays."""
    ended, risen = told["again"]["rates"]
    assert risen > 2 * ended
    first, second = told["again"]["losses"]
    assert second < 1.1 * first
