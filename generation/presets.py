"""What each pipeline family wants: legal frame counts and sizes, frame rate, steps, guidance. One entry a family."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Preset:
    """How a family renders. Frames are `frame_step` * k + 1; width and height multiples of `size_step` pixels."""

    family: str
    width: int
    height: int
    frames: int
    fps: int
    steps: int
    guidance: float
    frame_step: int = 1
    size_step: int = 16
    max_sequence_length: int | None = None
    negative_prompt: str | None = None
    upscale: int = 1  # whole factor by which the encoder enlarges pixels, for models of very small pictures
    vae_float32: bool = False  # the decoder stays exact where the rest of the model is halved

    def fitted(self) -> tuple[Preset, list[str]]:
        """The nearest legal preset, with a sentence for each value that had to be changed."""
        said = []
        frames = max(1, round((self.frames - 1) / self.frame_step)) * self.frame_step + 1
        if frames != self.frames:
            rule = f"{self.family} renders {self.frame_step}k+1 frames"
            said.append(f"{rule}: {self.frames} became {frames}.")
        sizes = {}
        for name in ("width", "height"):
            value = getattr(self, name)
            sizes[name] = max(1, round(value / self.size_step)) * self.size_step
            if sizes[name] != value:
                said.append(f"{self.family} wants a {name} in steps of {self.size_step}: {value} became {sizes[name]}.")
        return replace(self, frames=frames, **sizes), said


# By the name of the pipeline's class. Wan: 4k+1 frames, multiples of 16 (diffusers' WanPipeline.check_inputs).
PRESETS: dict[str, Preset] = {
    "WanPipeline": Preset(
        "Wan", 832, 480, 81, 16, 50, 5.0, frame_step=4, size_step=16, max_sequence_length=512, vae_float32=True
    ),
    # 8k+1 frames, multiples of 32 (diffusers' LTXPipeline.check_inputs).
    "LTXPipeline": Preset("LTX-Video", 704, 480, 161, 25, 50, 3.0, frame_step=8, size_step=32, max_sequence_length=128),
}
# Most families want 4k+1 or 8k+1 frames, and sizes in steps of 16 or 32: 8k+1 and 32 suit them all.
GENERIC = Preset("generic", 512, 512, 17, 8, 30, 6.0, frame_step=8, size_step=32)


def preset_for(pipeline_class: str) -> Preset:
    """The family's preset, or generic rules for a pipeline that is not known here."""
    return PRESETS.get(pipeline_class, GENERIC)
