"""Data sources, checked data sets, splits, and images to predict on."""

from galaxy_exp.data.dataset import ImageDataset, build_dataset
from galaxy_exp.data.inputs import NamedImage, iter_images
from galaxy_exp.data.prepared import PreparedData, SealedTest, prepare_split
from galaxy_exp.data.sources import SOURCES, load_dataset
from galaxy_exp.data.sources.galaxy10 import fetch_galaxy10
from galaxy_exp.data.split import Split, split_dataset

__all__ = [
    "SOURCES",
    "ImageDataset",
    "NamedImage",
    "PreparedData",
    "SealedTest",
    "Split",
    "build_dataset",
    "fetch_galaxy10",
    "iter_images",
    "load_dataset",
    "prepare_split",
    "split_dataset",
]
