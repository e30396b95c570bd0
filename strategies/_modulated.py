"""One shared encoder with a small task-specific module after each of its stages."""

from collections.abc import Callable, Sequence
from typing import cast

from torch import Tensor, nn

from bench.contracts import EncoderFactory, MultiTaskNetwork
from bench.networks import Encoder, Shape, read


class ModulatedEncoder(MultiTaskNetwork):
    """A shared encoder whose stages are followed by task-specific modules.

    `module(shape)` builds the module after a stage; `shape` is the stage's activation for one
    image. Tasks on the same images share the first stage's forward pass; their activations differ
    after it.
    """

    def __init__(
        self,
        new_encoder: EncoderFactory,
        heads: Sequence[Callable[[Encoder], nn.Module]],
        module: Callable[[Shape], nn.Module],
    ) -> None:
        super().__init__()
        self.encoder = new_encoder()
        self.modules_of = nn.ModuleList(
            nn.ModuleList(module(shape) for shape in self.encoder.stage_shapes) for _ in heads
        )
        self.heads = nn.ModuleList(head(self.encoder) for head in heads)

    def forward(self, images: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return the output of each task."""
        first, *rest = self.encoder.stages
        begun: dict[int, Tensor] = {}
        outputs: list[Tensor | None] = []
        for task, (x, modules, head) in enumerate(
            zip(images, self.modules_of, self.heads, strict=True)
        ):
            if x is None:
                outputs.append(None)
                continue
            if id(x) not in begun:
                begun[id(x)] = first(x)
            self.attend(task)
            own, *others = cast(nn.ModuleList, modules)
            found = [own(begun[id(x)])]
            for stage, modulate in zip(rest, others, strict=True):
                found.append(modulate(stage(found[-1])))
            outputs.append(read(head, found))
        return outputs

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the encoder."""
        return list(self.encoder.parameters())
