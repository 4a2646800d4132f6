"""From stored pixels to what the net sees: augment, crop, represent, standardise, on the batch."""

from torch import Tensor, nn

from alexlab.data.augment import Augment
from alexlab.data.representation import Representation
from alexlab.data.transforms import centre_crop


class Preprocess(nn.Module):
    """uint8 [N, 3, S, S] -> float32 [N, num_channels, R, R] with R = resolution, channels last.

    Training batches are augmented (each image by its own draw from torch's global generator), which
    may crop at random; all others are cropped in the centre. The module follows its images to their
    device.

    Raises:
        ValueError: an unknown representation; images smaller than `resolution`.
    """

    def __init__(
        self, resolution: int, *, augment: Augment | None = None, representation: str = "rgb"
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.augment = augment or Augment()
        self.represent = Representation(representation)
        self.num_channels = self.represent.num_channels

    def notes(self, load_size: int) -> list[str]:
        """What should be said of images that are stored at this side in pixels."""
        if not self.augment.crop or load_size > self.resolution:
            return []
        return [
            f"augment.crop has no effect: data.load_size={load_size} is what the net sees; "
            f"data.load_size={round(self.resolution * 8 / 7)} leaves room to crop"
        ]

    def pixels(self, images: Tensor, *, training: bool) -> Tensor:
        """RGB float32 [N, 3, R, R] in [0, 1]: augmented and cropped, not yet represented."""
        size = images.shape[-1]
        if size < self.resolution:
            raise ValueError(
                f"data.load_size={size} is smaller than data.resolution={self.resolution}; "
                "raise load_size or lower resolution"
            )
        if training:
            augmented: Tensor = self.augment(images, self.resolution)
            return augmented
        return centre_crop(images, self.resolution).float() / 255

    def forward(self, images: Tensor, *, training: bool) -> Tensor:
        """The batch as the net takes it."""
        self.to(images.device)
        seen: Tensor = self.represent(self.pixels(images, training=training))
        return seen
