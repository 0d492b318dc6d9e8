"""What a paper should cite: the sources of data, software and methods that a sweep really used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from galaxy_exp.report.page.material import Material

__all__ = ["bibtex", "cited_data", "cited_methods", "cited_software"]

ENTRIES: Mapping[str, str] = {
    "galaxy10sdss": """@misc{galaxy10sdss,
  author = {Leung, Henry W. and Bovy, Jo},
  title = {{Galaxy10 SDSS Dataset}},
  publisher = {Zenodo},
  year = {2024},
  doi = {10.5281/zenodo.10844811}
}""",
    "galaxy10decals": """@misc{galaxy10decals,
  author = {Leung, Henry W. and Bovy, Jo},
  title = {{Galaxy10 DECaLS Dataset}},
  publisher = {Zenodo},
  year = {2024},
  doi = {10.5281/zenodo.10845026}
}""",
    "lintott2008": """@article{lintott2008,
  author = {Lintott, Chris J. and others},
  title = {{Galaxy Zoo: morphologies derived from visual inspection of galaxies from the Sloan Digital Sky Survey}},
  journal = {Monthly Notices of the Royal Astronomical Society},
  volume = {389},
  pages = {1179--1189},
  year = {2008},
  doi = {10.1111/j.1365-2966.2008.13689.x}
}""",
    "lintott2011": """@article{lintott2011,
  author = {Lintott, Chris and others},
  title = {{Galaxy Zoo 1: data release of morphological classifications for nearly 900 000 galaxies}},
  journal = {Monthly Notices of the Royal Astronomical Society},
  volume = {410},
  pages = {166--178},
  year = {2011},
  doi = {10.1111/j.1365-2966.2010.17432.x}
}""",
    "willett2013": """@article{willett2013,
  author = {Willett, Kyle W. and others},
  title = {{Galaxy Zoo 2: detailed morphological classifications for 304 122 galaxies from the Sloan Digital Sky
           Survey}},
  journal = {Monthly Notices of the Royal Astronomical Society},
  volume = {435},
  pages = {2835--2860},
  year = {2013},
  doi = {10.1093/mnras/stt1458}
}""",
    "abazajian2009": """@article{abazajian2009,
  author = {Abazajian, Kevork N. and others},
  title = {{The Seventh Data Release of the Sloan Digital Sky Survey}},
  journal = {The Astrophysical Journal Supplement Series},
  volume = {182},
  pages = {543--558},
  year = {2009},
  doi = {10.1088/0067-0049/182/2/543}
}""",
    "walmsley2022": """@article{walmsley2022,
  author = {Walmsley, Mike and others},
  title = {{Galaxy Zoo DECaLS: detailed visual morphology measurements from volunteers and deep learning for 314 000
           galaxies}},
  journal = {Monthly Notices of the Royal Astronomical Society},
  volume = {509},
  pages = {3966--3988},
  year = {2022},
  doi = {10.1093/mnras/stab2093}
}""",
    "dey2019": """@article{dey2019,
  author = {Dey, Arjun and others},
  title = {{Overview of the DESI Legacy Imaging Surveys}},
  journal = {The Astronomical Journal},
  volume = {157},
  pages = {168},
  year = {2019},
  doi = {10.3847/1538-3881/ab089d}
}""",
    "keras": """@misc{keras,
  author = {Chollet, Fran{\\c{c}}ois and others},
  title = {{Keras}},
  year = {2015},
  howpublished = {\\url{https://keras.io}}
}""",
    "kerastuner": """@misc{kerastuner,
  author = {O'Malley, Tom and Bursztein, Elie and Long, James and Chollet, Fran{\\c{c}}ois and Jin, Haifeng and
            Invernizzi, Luca and others},
  title = {{KerasTuner}},
  year = {2019},
  howpublished = {\\url{https://github.com/keras-team/keras-tuner}}
}""",
    "abadi2016": """@inproceedings{abadi2016,
  author = {Abadi, Mart{\\'i}n and others},
  title = {{TensorFlow: A System for Large-Scale Machine Learning}},
  booktitle = {12th USENIX Symposium on Operating Systems Design and Implementation},
  pages = {265--283},
  year = {2016}
}""",
    "jax": """@misc{jax,
  author = {Bradbury, James and Frostig, Roy and Hawkins, Peter and others},
  title = {{JAX: composable transformations of Python+NumPy programs}},
  year = {2018},
  howpublished = {\\url{https://github.com/jax-ml/jax}}
}""",
    "zaharia2018": """@article{zaharia2018,
  author = {Zaharia, Matei and others},
  title = {{Accelerating the Machine Learning Lifecycle with MLflow}},
  journal = {IEEE Data Engineering Bulletin},
  volume = {41},
  number = {4},
  pages = {39--45},
  year = {2018}
}""",
    "akiba2019": """@inproceedings{akiba2019,
  author = {Akiba, Takuya and Sano, Shotaro and Yanase, Toshihiko and Ohta, Takeru and Koyama, Masanori},
  title = {{Optuna: A Next-generation Hyperparameter Optimization Framework}},
  booktitle = {Proceedings of the 25th ACM SIGKDD International Conference on Knowledge Discovery and Data Mining},
  pages = {2623--2631},
  year = {2019},
  doi = {10.1145/3292500.3330701}
}""",
    "astropy2013": """@article{astropy2013,
  author = {{Astropy Collaboration} and Robitaille, Thomas P. and others},
  title = {{Astropy: A community Python package for astronomy}},
  journal = {Astronomy and Astrophysics},
  volume = {558},
  pages = {A33},
  year = {2013},
  doi = {10.1051/0004-6361/201322068}
}""",
    "astropy2018": """@article{astropy2018,
  author = {{Astropy Collaboration} and Price-Whelan, Adrian M. and others},
  title = {{The Astropy Project: Building an Open-science Project and Status of the v2.0 Core Package}},
  journal = {The Astronomical Journal},
  volume = {156},
  pages = {123},
  year = {2018},
  doi = {10.3847/1538-3881/aabc4f}
}""",
    "astropy2022": """@article{astropy2022,
  author = {{Astropy Collaboration} and Price-Whelan, Adrian M. and others},
  title = {{The Astropy Project: Sustaining and Growing a Community-oriented Open-source Project and the Latest Major
           Release (v5.0) of the Core Package}},
  journal = {The Astrophysical Journal},
  volume = {935},
  pages = {167},
  year = {2022},
  doi = {10.3847/1538-4357/ac7c74}
}""",
    "rocklin2015": """@inproceedings{rocklin2015,
  author = {Rocklin, Matthew},
  title = {{Dask: Parallel Computation with Blocked algorithms and Task Scheduling}},
  booktitle = {Proceedings of the 14th Python in Science Conference},
  pages = {126--132},
  year = {2015},
  doi = {10.25080/Majora-7b98e3ed-013}
}""",
    "virtanen2020": """@article{virtanen2020,
  author = {Virtanen, Pauli and others},
  title = {{SciPy 1.0: fundamental algorithms for scientific computing in Python}},
  journal = {Nature Methods},
  volume = {17},
  pages = {261--272},
  year = {2020},
  doi = {10.1038/s41592-019-0686-2}
}""",
    "harris2020": """@article{harris2020,
  author = {Harris, Charles R. and others},
  title = {{Array programming with NumPy}},
  journal = {Nature},
  volume = {585},
  pages = {357--362},
  year = {2020},
  doi = {10.1038/s41586-020-2649-2}
}""",
    "jones1998": """@article{jones1998,
  author = {Jones, Donald R. and Schonlau, Matthias and Welch, William J.},
  title = {{Efficient Global Optimization of Expensive Black-Box Functions}},
  journal = {Journal of Global Optimization},
  volume = {13},
  pages = {455--492},
  year = {1998},
  doi = {10.1023/A:1008306431147}
}""",
    "bergstra2011": """@inproceedings{bergstra2011,
  author = {Bergstra, James and Bardenet, R{\\'e}mi and Bengio, Yoshua and K{\\'e}gl, Bal{\\'a}zs},
  title = {{Algorithms for Hyper-Parameter Optimization}},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {24},
  pages = {2546--2554},
  year = {2011}
}""",
    "sobol1967": """@article{sobol1967,
  author = {Sobol', Ilya M.},
  title = {{On the distribution of points in a cube and the approximate evaluation of integrals}},
  journal = {USSR Computational Mathematics and Mathematical Physics},
  volume = {7},
  number = {4},
  pages = {86--112},
  year = {1967},
  doi = {10.1016/0041-5553(67)90144-9}
}""",
    "owen1998": """@article{owen1998,
  author = {Owen, Art B.},
  title = {{Scrambling Sobol' and Niederreiter-Xing Points}},
  journal = {Journal of Complexity},
  volume = {14},
  pages = {466--489},
  year = {1998},
  doi = {10.1006/jcom.1998.0487}
}""",
    "hansen2001": """@article{hansen2001,
  author = {Hansen, Nikolaus and Ostermeier, Andreas},
  title = {{Completely Derandomized Self-Adaptation in Evolution Strategies}},
  journal = {Evolutionary Computation},
  volume = {9},
  pages = {159--195},
  year = {2001},
  doi = {10.1162/106365601750190398}
}""",
    "li2020": """@inproceedings{li2020,
  author = {Li, Liam and Jamieson, Kevin and Rostamizadeh, Afshin and Gonina, Ekaterina and Ben-tzur, Jonathan and
            Hardt, Moritz and Recht, Benjamin and Talwalkar, Ameet},
  title = {{A System for Massively Parallel Hyperparameter Tuning}},
  booktitle = {Proceedings of Machine Learning and Systems},
  volume = {2},
  pages = {230--246},
  year = {2020}
}""",
    "li2018": """@article{li2018,
  author = {Li, Lisha and Jamieson, Kevin and DeSalvo, Giulia and Rostamizadeh, Afshin and Talwalkar, Ameet},
  title = {{Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization}},
  journal = {Journal of Machine Learning Research},
  volume = {18},
  number = {185},
  pages = {1--52},
  year = {2018}
}""",
    "golovin2017": """@inproceedings{golovin2017,
  author = {Golovin, Daniel and Solnik, Benjamin and Moitra, Subhodeep and Kochanski, Greg and Karro, John and
            Sculley, D.},
  title = {{Google Vizier: A Service for Black-Box Optimization}},
  booktitle = {Proceedings of the 23rd ACM SIGKDD International Conference on Knowledge Discovery and Data Mining},
  pages = {1487--1495},
  year = {2017},
  doi = {10.1145/3097983.3098043}
}""",
    "efron1993": """@book{efron1993,
  author = {Efron, Bradley and Tibshirani, Robert J.},
  title = {{An Introduction to the Bootstrap}},
  publisher = {Chapman and Hall},
  year = {1993}
}""",
    "guo2017": """@inproceedings{guo2017,
  author = {Guo, Chuan and Pleiss, Geoff and Sun, Yu and Weinberger, Kilian Q.},
  title = {{On Calibration of Modern Neural Networks}},
  booktitle = {Proceedings of the 34th International Conference on Machine Learning},
  pages = {1321--1330},
  year = {2017}
}""",
}
"""By key. Volumes, pages and identifiers as the publishers give them."""

_DATA = {
    "galaxy10-sdss": ("galaxy10sdss", "abazajian2009", "lintott2008", "lintott2011", "willett2013"),
    "galaxy10-decals": ("galaxy10decals", "dey2019", "lintott2008", "lintott2011", "willett2013", "walmsley2022"),
}
_SAMPLERS = {
    "gp": ("jones1998",),
    "tpe": ("bergstra2011", "akiba2019"),
    "random": (),
    "qmc": ("sobol1967", "owen1998"),
    "grid": (),
    "cmaes": ("hansen2001", "akiba2019"),
}
_PRUNERS = {"asha": ("li2020",), "hyperband": ("li2018", "li2020"), "median": ("golovin2017",)}


_SOFTWARE = {
    "keras": ("keras",),
    "tensorflow": ("abadi2016",),
    "jax": ("jax",),
    "keras-tuner": ("kerastuner",),
    "mlflow": ("zaharia2018",),
    "dask": ("rocklin2015",),
    "astropy": ("astropy2013", "astropy2018", "astropy2022"),
    "scipy": ("virtanen2020",),
    "numpy": ("harris2020",),
}


def cited_data(material: Material) -> tuple[str, ...]:
    """Keys for the images; none for those of the user's own, and for simulated ones."""
    return () if material.data.simulated else _DATA.get(material.record.config.data.source, ())


def cited_software(material: Material) -> dict[str, tuple[str, ...]]:
    """Keys by package, as `describe_software` names it: what every sweep runs on, and what this one used besides."""
    record = material.record
    search, execution = record.config.search, record.execution
    backends = {trial.result.backend for trial in record.trials.values() if trial.result}
    used = {
        "keras": True,
        "tensorflow": "tensorflow" in backends,
        "jax": "jax" in backends,
        "keras-tuner": True,
        "mlflow": True,
        "dask": not execution.is_local,
        "astropy": any(step.startswith("FITS") for step in material.data.preprocessing),
        "scipy": search.sampler_choice in ("gp", "qmc"),
        "numpy": True,
    }
    return {package: _SOFTWARE[package] for package, is_used in used.items() if is_used}


def cited_methods(material: Material) -> dict[str, tuple[str, ...]]:
    """Keys by what they were used for: "sampler", "pruner", "bootstrap", "calibration"; without what was not used."""
    search = material.record.config.search
    found = {
        "sampler": _SAMPLERS.get(search.sampler_choice, ()),
        "pruner": _PRUNERS.get(search.pruner, ()),
        "bootstrap": ("efron1993",) if material.gains else (),
        "calibration": ("guo2017",) if material.calibration else (),
    }
    return {use: keys for use, keys in found.items() if keys}


def bibtex(keys: Iterable[str]) -> str:
    """The entries, each once, in the order of first use."""
    return "\n\n".join(ENTRIES[key] for key in dict.fromkeys(keys))
