"""Presets: legal numbers of frames and sizes, and variants."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from generation.models.presets import Preset, family_of, known_families, preset_for


def test_wrong_sizes_become_right_and_are_said() -> None:
    """Wan renders 4k+1 frames in multiples of 16 pixels; each value that was changed is named, the others are not."""
    fitted, said = Preset("Wan", 830, 480, 80, 16, 50, 5.0, frame_step=4).fitted()
    assert (fitted.width, fitted.height, fitted.frames) == (832, 480, 81)
    assert said == ["Wan renders 4k+1 frames: 80 became 81.", "Wan wants a width in steps of 16: 830 became 832."]
    assert preset_for("WanPipeline").fitted() == (preset_for("WanPipeline"), [])
    assert preset_for("SomethingNew").fitted()[1] == []


@given(
    family=st.sampled_from(sorted(known_families())),
    frames=st.integers(1, 1025),
    width=st.integers(1, 4096),
    height=st.integers(1, 4096),
    strides=st.tuples(st.sampled_from([1, 2, 4, 6, 8]), st.sampled_from([1, 8, 16, 32])),
)
@example(family="LattePipeline", frames=1, width=1, height=1, strides=(6, 1))  # 16 frames at most, in steps of 48
def test_whatever_is_asked_for_becomes_legal(
    family: str, frames: int, width: int, height: int, strides: tuple[int, int]
) -> None:
    """Every count and size is rounded to one that the family renders, and said exactly when it was changed."""
    asked = replace(preset_for(family), frames=frames, width=width, height=height)
    fitted, said = asked.fitted(strides)
    assert (fitted.frames - asked.frame_offset) % asked.frame_step == 0
    assert fitted.width % asked.size_step == fitted.height % asked.size_step == 0
    assert fitted.width % strides[1] == fitted.height % strides[1] == 0
    assert fitted.frames >= (asked.least_frames or 1)
    assert fitted.width >= (asked.least_width or 1)
    changed = [name for name in ("frames", "width", "height") if getattr(fitted, name) != getattr(asked, name)]
    assert len(said) == len(changed)
    assert fitted.fitted(strides) == (fitted, [])


def test_a_variant_is_known_by_its_configs() -> None:
    """Two denoisers make it Wan 2.2, a word in a component's config CogVideoX 1.5; what is absent or null does not."""
    wan = family_of("WanPipeline")
    both = {"": {"boundary_ratio": 0.9, "transformer_2": ["diffusers", "WanTransformer3DModel"]}}
    one = {"": {"boundary_ratio": None, "transformer_2": [None, None]}, "transformer": {"text_dim": 64}}
    assert (wan.preset_of(both).family, wan.preset_of(both).arguments) == ("Wan 2.2", {"guidance_scale_2": 3.0})
    assert wan.preset_of(one) == wan.preset_of({}) == wan.preset
    released = wan.preset_of({"transformer": {"text_dim": 4096}})
    assert (released.family, bool(released.negative_prompt)) == ("Wan", True)
    cog = family_of("CogVideoXPipeline")
    assert cog.preset_of({"transformer": {"patch_size_t": 2}}).family == "CogVideoX 1.5"
    assert cog.preset_of({"transformer": {"patch_size_t": None}}).family == "CogVideoX"
