"""Turn a batch of stored pixels into a net's input: augment, crop, transform, standardise."""

from torch import Tensor, nn

from alexlab.data.augment import Augment
from alexlab.data.representation import Representation
from alexlab.data.transforms import centre_crop


class Preprocess(nn.Module):
    """uint8 [N, 3, S, S] -> float32 [N, num_channels, R, R] with R = resolution, channels last.

    Training batches are augmented (each image by its own draw from torch's global generator), which
    may crop at random; all others are cropped in the centre. The module moves to the device of its
    images.

    Raises:
        ValueError: an unknown representation; images smaller than `resolution`.
    """

    def __init__(
        self, resolution: int, *, augment: Augment | None = None, representation: str = "rgb"
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.augment = augment or Augment()
        self.representation = Representation(representation)
        self.num_channels = self.representation.num_channels

    def notes(self, load_size: int) -> list[str]:
        """Return warnings about settings for images that are stored at this side in pixels."""
        if not self.augment.crop or load_size > self.resolution:
            return []
        return [
            f"augment.crop has no effect: data.load_size={load_size} equals data.resolution; "
            f"data.load_size={round(self.resolution * 8 / 7)} leaves room to crop"
        ]

    def pixels(self, images: Tensor, *, training: bool) -> Tensor:
        """Augment or crop only: RGB float32 [N, 3, R, R] in [0, 1]."""
        size = images.shape[-1]
        if size < self.resolution:
            raise ValueError(
                f"data.load_size={size} is smaller than data.resolution={self.resolution}; "
                "raise load_size or lower resolution"
            )
        if training:
            augmented: Tensor = self.augment(images, self.resolution)
            return augmented
        return centre_crop(images, self.resolution).float().div_(255)

    def forward(self, images: Tensor, *, training: bool) -> Tensor:
        """Augment or crop, transform and standardise a batch."""
        if self.representation.mean.device != images.device:
            self.to(images.device)
        pixels = self.pixels(images, training=training)
        inputs: Tensor = self.representation(pixels, overwrite=True)
        return inputs
