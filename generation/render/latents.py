"""The final latents of a pipeline's call, as its denoiser meets them: handed over by the pipeline's own callback.

They are what tuning needs of a video: no encoder is needed then, and nothing is lost. Imports no torch: it uses what
tensors can do themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from generation.render.arguments import parameters_of_call

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

NAME = "latents"
MOST_HALF = 65504.0  # the largest float16


class FinalLatents:
    """The latents after the last step so far of one call."""

    def __init__(self) -> None:
        self._latest: torch.Tensor | None = None

    def arguments(self, pipeline_class: type) -> dict[str, object]:
        """Return the arguments by which a pipeline hands its latents over; none where it cannot."""
        parameters = parameters_of_call(pipeline_class)
        if "callback_on_step_end" in parameters and NAME in getattr(pipeline_class, "_callback_tensor_inputs", ()):
            return {"callback_on_step_end": self._on_step_end, "callback_on_step_end_tensor_inputs": [NAME]}
        if "callback_steps" in parameters and "callback" in parameters:
            return {"callback": self._on_step, "callback_steps": 1}
        return {}

    def _on_step_end(
        self, _pipeline: object, _step: int, _time: object, values: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        self._keep(values[NAME])
        return {}  # nothing of the call is changed

    def _on_step(self, _step: int, _time: object, latents: torch.Tensor) -> None:
        self._keep(latents)

    def _keep(self, latents: torch.Tensor) -> None:
        self._latest = latents.detach().clone()  # what follows in the call may write into it

    def array(self) -> NDArray[np.float16] | NDArray[np.float32] | None:
        """Return the latents, their batch of one included; None where the pipeline gave none that are numbers.

        float16, which keeps every bfloat16 of usual size; float32 only where a value is too large for it.
        """
        import numpy as np

        if self._latest is None:
            return None
        whole: NDArray[np.float32] = self._latest.float().cpu().numpy()
        if not np.isfinite(whole).all():
            return None
        return whole if np.abs(whole).max(initial=0.0) > MOST_HALF else whole.astype(np.float16)
