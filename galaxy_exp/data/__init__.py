"""Data sources, validated data sets, splits, and images for prediction."""

from galaxy_exp.data.dataset import ImageDataset, build_dataset
from galaxy_exp.data.image_arrays import Preprocessing
from galaxy_exp.data.inputs import InputFile, NamedImage, digest_files, find_files, first_fits_file, iter_images
from galaxy_exp.data.prepared import HeldOutTest, PreparedData, prepare_split
from galaxy_exp.data.sources import SOURCES, load_dataset
from galaxy_exp.data.sources.galaxy10 import fetch_galaxy10
from galaxy_exp.data.sources.user_source import DataSource, LabelledImages
from galaxy_exp.data.split import Split, split_dataset
from galaxy_exp.data.summary import DataSummary, summarise_dataset

__all__ = [
    "SOURCES",
    "DataSource",
    "DataSummary",
    "HeldOutTest",
    "ImageDataset",
    "InputFile",
    "LabelledImages",
    "NamedImage",
    "PreparedData",
    "Preprocessing",
    "Split",
    "build_dataset",
    "digest_files",
    "fetch_galaxy10",
    "find_files",
    "first_fits_file",
    "iter_images",
    "load_dataset",
    "prepare_split",
    "split_dataset",
    "summarise_dataset",
]
