"""Use a measurement on validation: keep the best weights, lower the rate on a plateau, begin to average."""

from __future__ import annotations

import logging

from models.neural.weights_file import fill_network, network_tensors
from training.neural.callbacks.callback import Callback, ValidationResult
from training.neural.optimization.schedule import PLATEAU_FACTOR
from training.neural.state import TrainingState

log = logging.getLogger(__name__)


class BestWeights(Callback[TrainingState]):
    """Keep the best weights (averaged ones if there is an average), and leave them in the network at the end."""

    def on_validation(self, measured: ValidationResult) -> None:
        """Keep the weights if they are the best so far."""
        if measured.improved:
            with self.state.averaged():
                self.state.best = network_tensors(self.state.network)
            metrics = self.state.metrics
            metrics.best_nats, metrics.best_tokens = measured.nats, metrics.tokens

    def on_end(self) -> None:
        """Put the best weights into the network, which is in evaluation mode from here on."""
        fill_network(self.state.network, self.state.best)
        self.state.network.eval()


class Plateau(Callback[TrainingState]):
    """Lower the learning rate of the schedule "plateau" after an evaluation without improvement."""

    def on_validation(self, measured: ValidationResult) -> None:
        """Multiply the rate by `PLATEAU_FACTOR` unless the evaluation is the best so far."""
        if self.state.training.schedule == "plateau" and not measured.improved:
            self.state.metrics.plateau *= PLATEAU_FACTOR


class StartAveraging(Callback[TrainingState]):
    """Start the average of "nt_asgd" when validation no longer improves; see `NonMonotonicTrigger`."""

    def on_validation(self, measured: ValidationResult) -> None:
        """Show the measurement to the trigger."""
        if self.state.trigger is not None and self.state.trigger.observe(measured.nats):
            log.info("the validation loss no longer improves: averaging the weights from here on")
