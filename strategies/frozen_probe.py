"""Sequential transfer by a probe (Alain and Bengio 2016): pretrain, then train the head alone.

The rule: as `finetune`, but the shared parameters are frozen in the second phase. With hard sharing
that is a linear probe of the encoder's features: it measures only what the auxiliary tasks taught
it. Its steps have no backward pass of the encoder, so the same budget buys more of them. Where less
is shared, more is trained: `branch@1+partner+frozen-probe` freezes the first stage.

Others compute the features once and store them, so the encoder runs only in the first epoch. Here
every step computes them, because augmentation needs it, and is billed for it. Weight decay does not
touch a frozen weight. Batch statistics that are kept per task (`norm=per-task`) are no weights: the
target's images have their own, which move on.
"""

from dataclasses import dataclass

from ._sequential import Sequential


@dataclass(frozen=True)
class FrozenProbe(Sequential):
    """Pretrain on the auxiliary tasks, then train the target on the frozen encoder."""

    name = "frozen-probe"
    summary = (
        "the auxiliary tasks first, then the target on the frozen encoder: partner+frozen-probe"
    )
    paper = (
        "Alain and Bengio 2016, Understanding Intermediate Layers Using Linear Classifier Probes"
    )
    frozen = True
