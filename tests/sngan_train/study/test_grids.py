"""The grids are the paper's, and scaling touches size alone."""

from collections import Counter

import pytest

from sngan_train.errors import ConfigError
from sngan_train.paper_presets import SETTINGS
from sngan_train.presets import PRESETS
from sngan_train.study.cell import WITHOUT_INFLUENCE
from sngan_train.study.grids import CRITIC_STEPS, STUDIES, Options, cells_of
from sngan_train.study.scales import SCALES

SCALED = {
    ("data", "image_size"),
    ("generator", "channels"),
    ("discriminator", "channels"),
    ("optimizer", "decay_start_step"),
    ("training", "total_steps"),
    ("training", "seed"),
} | {(section, key) for section, keys in WITHOUT_INFLUENCE.items() for key in keys}


@pytest.mark.parametrize("study", [name for name in STUDIES if name not in ("width", "critic-steps")])
@pytest.mark.parametrize("scale", list(SCALES))
def test_scaling_never_touches_the_method(study: str, scale: str) -> None:
    for cell in cells_of(STUDIES[study], SCALES[scale], Options()):
        original = PRESETS[cell.config.preset].config.to_dict()
        for section, values in cell.config.to_dict().items():
            if isinstance(values, dict):
                changed = {(section, key) for key in values if values[key] != original[section][key]}
                assert changed <= SCALED, (cell.name, changed - SCALED)


def test_the_scale_of_the_paper_is_the_papers() -> None:
    for cell in cells_of(STUDIES["table2"], SCALES["paper"], Options()):
        original = PRESETS[cell.config.preset].config
        assert cell.config.data == original.data
        assert cell.config.generator == original.generator
        assert cell.config.optimizer == original.optimizer
        assert cell.config.training.total_steps == original.training.total_steps
        assert cell.protocol == "paper"
        assert cell.features == "inception"


def test_settings_are_every_method_in_every_setting_seed_by_seed() -> None:
    cells = cells_of(STUDIES["settings"], SCALES["tiny"], Options())
    assert len(cells) == 7 * 6 * 2
    assert {cell.axes["seed"] for cell in cells[:42]} == {"0"}
    assert Counter(cell.axes["method"] for cell in cells) == dict.fromkeys({c.axes["method"] for c in cells}, 12)
    for cell in cells:
        optimizer = cell.config.optimizer
        rate, beta1, beta2, critic_steps = SETTINGS[cell.axes["setting"]]
        assert (optimizer.generator_learning_rate, optimizer.discriminator_learning_rate) == (rate, rate)
        assert (optimizer.beta1, optimizer.beta2, optimizer.critic_steps) == (beta1, beta2, critic_steps)
        assert cell.config.training.seed == int(cell.axes["seed"])


def test_names_are_unique_over_all_studies_or_mean_the_same_cell() -> None:
    for conditional in (False, True):
        fingerprints: dict[str, str] = {}
        for study in STUDIES.values():
            for cell in cells_of(study, SCALES["tiny"], Options(conditional=conditional)):
                assert fingerprints.setdefault(cell.name, cell.fingerprint) == cell.fingerprint


def test_spectra_are_cells_of_settings() -> None:
    settings = {cell.name for cell in cells_of(STUDIES["settings"], SCALES["tiny"], Options())}
    assert {cell.name for cell in cells_of(STUDIES["spectra"], SCALES["tiny"], Options())} <= settings


def test_conditional_cells_have_a_name_of_their_own() -> None:
    plain, conditional = (
        cells_of(STUDIES["settings"], SCALES["tiny"], Options(conditional=asked))[0] for asked in (False, True)
    )
    assert not plain.config.conditional
    assert conditional.config.conditional
    assert plain.name != conditional.name


def test_critic_steps_and_width_vary_what_they_say() -> None:
    cells = cells_of(STUDIES["critic-steps"], SCALES["tiny"], Options(seeds=1, methods=("sn",)))
    assert [cell.config.optimizer.critic_steps for cell in cells] == list(CRITIC_STEPS)
    widths = [
        cell.config.discriminator.channels for cell in cells_of(STUDIES["width"], SCALES["tiny"], Options(seeds=1))
    ]
    assert sorted(set(widths)) == [8, 16, 32, 64]


def test_a_method_or_setting_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="'G' is not in this study; known: A, B"):
        cells_of(STUDIES["settings"], SCALES["tiny"], Options(settings=("G",)))
    with pytest.raises(ConfigError, match="--methods 'sm'"):
        cells_of(STUDIES["spectra"], SCALES["tiny"], Options(methods=("sm",)))
    with pytest.raises(ConfigError, match="--steps goes with"):
        cells_of(STUDIES["settings"], SCALES["paper"], Options(total_steps=5))
