"""The paper's tables and figures, each as a declared grid of presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from sngan_train.config import RunConfig
from sngan_train.errors import ConfigError
from sngan_train.paper_presets import METHODS, SETTINGS
from sngan_train.preset import Preset
from sngan_train.presets import PRESETS
from sngan_train.study.cell import COST, TRAINING, Cell
from sngan_train.study.scales import Scale

WIDTH_FACTORS = (0.5, 1.0, 2.0, 4.0)  # figure 4 names none; ours
CRITIC_STEPS = (1, 2, 5, 10, 20)  # figure 11
CURVE_POINTS = 20
TABLE_2_METHODS = tuple(method for method in METHODS if method not in ("none", "frobenius"))
SETTINGS_METHODS = ("weight-clipping", "wgan-gp", "batch-norm", "layer-norm", "weight-norm", "orthonormal", "sn")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a user may ask of a grid beside its scale.

    Attributes:
        data: a source in place of the presets' own.
        seeds: runs of each cell; None is the scale's.
        methods, settings: only these; empty is all of the study's.
        total_steps: generator updates; None is the scale's.
        conditional: projection discriminator and conditional batch norm, where the paper has neither, so that class
            agreement can be measured.
    """

    data: str | None = None
    seeds: int | None = None
    methods: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    total_steps: int | None = None
    conditional: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """One table or figure of the paper.

    Attributes:
        claim: what the paper says, to be held against the result.
        rows: axis down a table.
        columns: axis along it, or along x of a plot.
        build: the cells before scaling: axes, preset, and what is laid over its config.
    """

    name: str
    title: str
    reference: str
    claim: str
    rows: str
    columns: str
    kind: str = TRAINING
    build: Callable[[Options], list[tuple[dict[str, str], str, dict[str, Any]]]]


def _chosen(asked: Sequence[str], known: Sequence[str], option: str) -> tuple[str, ...]:
    for name in asked:
        if name not in known:
            raise ConfigError(f"{option} {name!r} is not in this study; known: {', '.join(known)}")
    return tuple(name for name in known if name in asked) or tuple(known)


def _table2(options: Options) -> list[tuple[dict[str, str], str, dict[str, Any]]]:
    settings = _chosen(options.settings, tuple(SETTINGS), "--settings")
    cells: list[tuple[dict[str, str], str, dict[str, Any]]] = []
    for method in _chosen(options.methods, TABLE_2_METHODS, "--methods"):
        for data in ("cifar10", "stl10"):
            if getattr(METHODS[method], data):
                cells += [
                    ({"method": method, "data": data, "setting": setting}, f"paper/{data}-cnn/{method}/{setting}", {})
                    for setting in settings
                ]
    for method in ("orthonormal", "sn"):
        if not options.methods or method in options.methods:
            cells += [
                ({"method": f"{method}, ResNet", "data": data}, f"paper/{data}-resnet/{method}", {})
                for data in ("cifar10", "stl10")
            ]
    return cells


def _settings(options: Options) -> list[tuple[dict[str, str], str, dict[str, Any]]]:
    known = (*SETTINGS_METHODS, *(name for name in METHODS if name not in SETTINGS_METHODS))
    methods = _chosen(options.methods, known, "--methods") if options.methods else SETTINGS_METHODS
    settings = _chosen(options.settings, tuple(SETTINGS), "--settings")
    return [
        ({"method": method, "setting": setting}, f"paper/cifar10-cnn/{method}/{setting}", {})
        for setting in settings
        for method in methods
    ]


def _spectra(options: Options) -> list[tuple[dict[str, str], str, dict[str, Any]]]:
    methods = _chosen(options.methods, ("weight-clipping", "weight-norm", "sn"), "--methods")
    settings = _chosen(options.settings or ("A",), tuple(SETTINGS), "--settings")
    return [
        ({"method": method, "setting": setting}, f"paper/cifar10-cnn/{method}/{setting}", {})
        for method in methods
        for setting in settings
    ]


def _width(options: Options) -> list[tuple[dict[str, str], str, dict[str, Any]]]:
    cells = []
    for method in _chosen(options.methods, ("orthonormal", "sn"), "--methods"):
        preset = f"paper/stl10-cnn/{method}/C"
        base = PRESETS[preset].config.discriminator.channels
        cells += [
            ({"method": method, "width": f"{factor:g}"}, preset, {"discriminator": {"channels": round(base * factor)}})
            for factor in WIDTH_FACTORS
        ]
    return cells


def _curve(options: Options) -> list[tuple[dict[str, str], str, dict[str, Any]]]:
    methods = _chosen(options.methods, ("orthonormal", "sn"), "--methods")
    return [({"method": method}, f"paper/imagenet128-{method}", {}) for method in methods]


def _critic_steps(options: Options) -> list[tuple[dict[str, str], str, dict[str, Any]]]:
    methods = _chosen(options.methods, ("weight-norm", "orthonormal", "sn"), "--methods")
    return [
        (
            {"method": method, "critic-steps": str(steps)},
            f"paper/cifar10-cnn/{method}/D",
            {"optimizer": {"critic_steps": steps}},
        )
        for method in methods
        for steps in CRITIC_STEPS
    ]


def _cost(options: Options) -> list[tuple[dict[str, str], str, dict[str, Any]]]:
    return [({"data": data}, f"paper/{data}-cnn/sn/C", {}) for data in ("cifar10", "stl10")]


STUDIES = {
    study.name: study
    for study in (
        Study(
            name="table2",
            title="Methods on CIFAR-10 and STL-10",
            reference="Miyato et al. 2018, table 2",
            claim="spectral norm and orthonormal regularisation score best; with the hinge loss spectral norm does",
            rows="method",
            columns="data",
            build=_table2,
        ),
        Study(
            name="settings",
            title="Methods under settings A to F",
            reference="Miyato et al. 2018, figures 1 and 2",
            claim="spectral norm is relatively robust in the aggressive settings D, E and F, where WGAN-GP breaks and "
            "others lose",
            rows="method",
            columns="setting",
            build=_settings,
        ),
        Study(
            name="spectra",
            title="Singular values of the discriminator's weights",
            reference="Miyato et al. 2018, figure 3",
            claim="weight clipping and weight norm concentrate on few singular values, spectral norm does not",
            rows="method",
            columns="setting",
            build=_spectra,
        ),
        Study(
            name="width",
            title="Width of the feature maps",
            reference="Miyato et al. 2018, figure 4",
            claim="spectral norm does not falter when the feature maps get wider, orthonormal regularisation does",
            rows="method",
            columns="width",
            build=_width,
        ),
        Study(
            name="curve",
            title="Conditional ImageNet over the run",
            reference="Miyato et al. 2018, figure 5",
            claim="spectral norm goes on improving, orthonormal regularisation stops early",
            rows="method",
            columns="step",
            build=_curve,
        ),
        Study(
            name="cost",
            title="Computation of an update",
            reference="Miyato et al. 2018, appendix, figure 10",
            claim="spectral norm takes 110 to 120 % of weight norm's time on CIFAR-10 and almost nothing more on "
            "STL-10; WGAN-GP takes much more",
            rows="data",
            columns="method",
            kind=COST,
            build=_cost,
        ),
        Study(
            name="critic-steps",
            title="Discriminator updates for each of the generator's",
            reference="Miyato et al. 2018, figure 11",
            claim="spectral norm scores best over all numbers of critic steps",
            rows="method",
            columns="critic-steps",
            build=_critic_steps,
        ),
    )
}


def cells_of(study: Study, scale: Scale, options: Options) -> list[Cell]:
    """The grid, seed by seed, so that a study stopped early has every cell once before any twice.

    Raises:
        ConfigError: an option names what the study does not have.
    """
    if options.total_steps is not None:
        scale = dataclasses.replace(scale, total_steps=options.total_steps)
        if scale.image_size is None:
            raise ConfigError("--steps goes with --scale tiny or small; the scale paper has the paper's steps")
    seeds = 1 if study.kind == COST else options.seeds or scale.seeds
    return [
        _cell(study, scale, options, axes, PRESETS[preset], changes, seed)
        for seed in range(seeds)
        for axes, preset, changes in study.build(options)
    ]


def _cell(
    study: Study,
    scale: Scale,
    options: Options,
    axes: dict[str, str],
    preset: Preset,
    changes: dict[str, Any],
    seed: int,
) -> Cell:
    config = scale.apply(preset.config.override(changes)).override({"training": {"seed": seed}})
    config = _watched_little(config)
    if study.columns == "step":
        every = max(1, config.training.total_steps // CURVE_POINTS)
        config = config.override({"training": {"evaluate_every": every, "evaluate_protocol": scale.protocol}})
    if options.data:
        config = config.override({"data": {"source": options.data}})
    outer, _, inner = preset.config.preset.removeprefix("paper/").partition("/")
    if options.conditional and not config.conditional:
        config = config.override({"discriminator": {"conditioning": "projection"}})
        outer += "-conditional"
    extra = "".join(f"/{key}-{value}" for key, value in axes.items() if key in ("width", "critic-steps"))
    prefix = "cost/" if study.kind == COST else ""
    name = f"{prefix}{outer}{'/' * bool(inner)}{inner}{extra}/seed-{seed}"
    return Cell(
        name=name,
        axes={**axes, "seed": str(seed)},
        kind=study.kind,
        config=config,
        protocol=scale.protocol,
        features=scale.features,
        published=preset.published,
    )


def _watched_little(config: RunConfig) -> RunConfig:
    """A cell is looked at when it is over; on the way it is saved so that a killed one goes on."""
    steps = config.training.total_steps
    return config.override(
        {
            "training": {
                "sample_every": steps,
                "spectrum_every": steps,
                "save_every": max(1, min(steps // 2, 5_000)),
                "keep_checkpoints": 1,
            }
        }
    )
