"""Sequential transfer by fine-tuning (Yosinski et al. 2014): pretrain, then continue on the target.

The rule: the network is trained on the auxiliary tasks alone, with `share` of the budget. Then the
whole network is trained on the target alone with the rest. `partner+finetune` pretrains on the
pair's other tasks; a pair's two rows are its two orders. `rotation+finetune`, `jigsaw+finetune` and
`reconstruction+finetune` (an autoencoder) pretrain without labels. A step of a phase computes only
its own tasks, and is billed accordingly.

The second phase starts afresh except for the network. AdamW's state is new, the learning rate rises
and anneals over the phase's steps, and the images come in the order of single-task training. Both
phases use the recipe's peak rate. Others often fine-tune at a lower one, or warm up the new head
before the encoder moves.

The target's head starts as in single-task training. Layers that are not shared (the branches of
`branch`) are not pretrained. `share=0` is single-task training, bit for bit. The networks that ship
keep no running statistics, so there are none to freeze or to adapt.
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
