"""Convert a batch of stored pixels to network inputs: augment, crop, transform, standardise."""

from torch import Tensor, nn

from alexlab.data.augment import Augment
from alexlab.data.representation import Representation
from alexlab.data.transforms import centre_crop


class Preprocess(nn.Module):
    """Convert uint8 [N, 3, S, S] to float32 [N, num_channels, R, R], R = resolution, channels last.

    Training batches are augmented, each image with its own random numbers from torch's global
    generator; the augmentation may crop at random. Other batches are cropped in the centre. The
    module moves itself to the device of the images.

    Raises:
        ValueError: If the representation is unknown, or images are smaller than `resolution`.
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
        """Return warnings about settings that have no effect on images of `load_size` pixels."""
        if not self.augment.crop or load_size > self.resolution:
            return []
        return [
            f"augment.crop has no effect: data.load_size={load_size} equals data.resolution; "
            f"data.load_size={round(self.resolution * 8 / 7)} leaves room to crop"
        ]

    def pixels(self, images: Tensor, *, training: bool) -> Tensor:
        """Augment or crop to RGB float32 [N, 3, R, R] in [0, 1], without the representation."""
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
