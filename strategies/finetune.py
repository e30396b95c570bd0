"""Sequential transfer by fine-tuning (Yosinski et al. 2014): pretrain, then go on with the target.

The rule: the network is trained on the auxiliary tasks alone, with `share` of the budget, and then,
encoder and all, on the target alone with the rest. `partner+finetune` pretrains on the pair's other
tasks, both orders of a pair being its two rows; `rotation+finetune`, `jigsaw+finetune` and
`reconstruction+finetune` (an autoencoder) pretrain without labels. A step of a phase computes its
own tasks only, and is billed so.

The second phase begins anew but for the network: AdamW's memory, a learning rate that rises and
anneals over the phase's steps, and the images in the order in which single-task training has them.
Both phases have the recipe's peak rate; others often fine-tune at a lower one, or warm up the new
head before the encoder moves. The target's head is that of single-task training at its start. What
sharing does not share (the branches of `branch`) is not pretrained. `share=0` is single-task
training, bit for bit. The networks that ship keep no running statistics, so there are none to
freeze or to adapt.
"""

from dataclasses import dataclass

from ._sequential import Sequential


@dataclass(frozen=True)
class Finetune(Sequential):
    """Pretrain on the auxiliary tasks, then train the whole network on the target."""

    name = "finetune"
    summary = "the auxiliary tasks first, then the target alone: partner+finetune"
    paper = "Yosinski et al. 2014, How Transferable Are Features in Deep Neural Networks?"
    frozen = False
