"""Provide the base class of callbacks that read the metrics of the finished epoch."""

from lightning.pytorch.callbacks import Checkpoint


class AfterEpoch(Checkpoint):
    """Make train/* and val/* of the epoch available in `on_train_epoch_end`.

    Lightning calls this hook first for most callbacks, then for the learner, which logs the epoch,
    and last for subclasses of `Checkpoint`, in the order of the trainer's list. For this order the
    base class is `Checkpoint`, although a subclass may save nothing.
    """
