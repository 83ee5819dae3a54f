"""An exponential moving average of a network's weights."""

import contextlib
from collections.abc import Iterator

import paddle


class WeightAverage:
    """``average = decay * average + (1 - decay) * weights``, of all parameters and running statistics.

    It starts from the weights at construction. Averages over the last updates often score better than the weights
    themselves (Polyak and Juditsky, 1992); ``decay`` weighs about the last ``1 / (1 - decay)`` updates.
    """

    def __init__(self, network: paddle.nn.Layer, decay: float):
        self.network, self.decay = network, decay
        self.reset()

    def reset(self) -> None:
        """Start again from the current weights."""
        self.values = {}
        for name, value in self.network.state_dict().items():
            self.values[name] = value.detach().clone()
            self.values[name].name = value.name  # which is saved, too

    @paddle.no_grad()
    def update(self) -> None:
        """Add the current weights."""
        for name, value in self.network.state_dict().items():
            # In this form, constants such as the statistics of a regression head are kept exactly.
            average = self.values[name]
            average.set_value(average + (value - average) * (1 - self.decay))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Give the network the average; afterwards it has its own weights again."""
        state = self.network.state_dict()
        own = {name: value.detach().clone() for name, value in state.items()}
        try:
            for name, value in state.items():
                value.set_value(self.values[name])
            yield
        finally:
            for name, value in state.items():
                value.set_value(own[name])
