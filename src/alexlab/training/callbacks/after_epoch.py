"""The base of callbacks that need the metrics of the epoch that ends."""

from lightning.pytorch.callbacks import Checkpoint


class AfterEpoch(Checkpoint):
    """A callback whose `on_train_epoch_end` finds train/* and val/* of the epoch.

    Lightning calls that hook of most callbacks, then the learner's, which logs the epoch, and then
    that of the callbacks that are a `Checkpoint`, in the order of the trainer's list. So this is a
    `Checkpoint`, although it may save nothing.
    """
