"""The operator's image classifier: it looks at frames of a rendered video before the file leaves the machine.

With torch and transformers; runs in the render process.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from generation.models.config import ClassifierSettings
from generation.models.revisions import folder_revision
from generation.render.memory import NoPipelineError
from generation.render_messages import Findings, Flag

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import BaseImageProcessor, PreTrainedModel

BATCH = 8  # frames at a time


class Classifier:
    """A loaded classifier, with the labels that flag a video, each from its own score on."""

    def __init__(
        self, processor: BaseImageProcessor, model: PreTrainedModel, settings: ClassifierSettings, identity: str
    ) -> None:
        self._processor = processor
        self._model = model
        self._settings = settings
        self.identity = identity  # of the weights and of what is asked of them: another one looks again

    def look_at(self, frames: NDArray[np.uint8]) -> Findings:
        """Return the findings in a video, whose frames have the shape (frames, height, width, 3).

        Raises ValueError for scores that are no numbers.
        """
        import numpy as np
        import torch
        from PIL import Image

        count = min(int(self._settings["frames"]), len(frames))
        numbers = [round(n) for n in np.linspace(0, len(frames) - 1, count)]
        scores = []
        for first in range(0, len(numbers), BATCH):
            pictures = [Image.fromarray(frames[n]) for n in numbers[first : first + BATCH]]
            inputs = self._processor(images=pictures, return_tensors="pt").to(self._model.device)
            with torch.inference_mode():
                logits = self._model(**inputs).logits.float()
            several = self._model.config.problem_type == "multi_label_classification"
            scores.append((logits.sigmoid() if several else logits.softmax(-1)).cpu().numpy())
        table = np.concatenate(scores)
        if not np.isfinite(table).all():
            raise ValueError("The classifier's scores are no numbers.")
        flagged = []
        for label, threshold in self._settings["labels"].items():
            column = table[:, self._model.config.label2id[label]]
            if column.max() >= threshold:
                flagged.append(Flag(label, round(float(column.max()), 4), numbers[int(column.argmax())]))
        return Findings(self.identity, len(numbers), flagged)


def load_classifier(settings: ClassifierSettings) -> Classifier:
    """Load the classifier. Raises NoPipelineError with a sentence: a worker never renders without it."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    source = str(settings["source"])
    pinned = {"revision": settings["revision"]} if settings["revision"] else {}
    try:
        processor = AutoImageProcessor.from_pretrained(source, **pinned)
        model = AutoModelForImageClassification.from_pretrained(source, use_safetensors=True, **pinned)
        model = model.to(settings["device"]).eval()
    except Exception as error:  # whatever a library raises: the worker must not go on without it
        raise NoPipelineError(
            f"The classifier {source} cannot be loaded ({type(error).__name__}), and nothing is rendered without it. "
            "Check [classifier] in the models file."
        ) from error
    labels = model.config.label2id
    if unknown := sorted(set(settings["labels"]) - set(labels)):
        raise NoPipelineError(
            f"The classifier {source} has no label {unknown[0]!r}; it has {', '.join(sorted(labels)[:20])}."
        )
    revision = settings["revision"] or folder_revision(Path(source), None)
    thresholds = ", ".join(f"{label} from {threshold}" for label, threshold in sorted(settings["labels"].items()))
    identity = f"{Path(source).name}@{revision[:12]}: {thresholds}, in {settings['frames']} frames"
    return Classifier(processor, model, settings, identity)
