"""CIFAR-10 (Krizhevsky 2009) with its official test set."""

from src.data.image_folder import ImageFolderData


class Cifar10Data(ImageFolderData):
    """`root/{train,test}/<class>/*`."""
