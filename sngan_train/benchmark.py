"""`sngan bench train`: our training against its plain form and against torch-mimicry, and what each method costs.

Three comparisons from one run, each interleaved: whole iterations of several forms; discriminator updates without
normalization, with our spectral norm and with torch's; and, if asked for, discriminator updates of every method.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from sngan_train.config import NORMALIZATIONS, RunConfig
from sngan_train.contenders import (
    FORMS,
    TORCHS_OWN,
    Contender,
    discriminator_update,
    mimicry_iteration,
    training_iteration,
)
from sngan_train.interleaving import Clock, Spread, Timings, WarmUp, take_turns, warm_up
from sngan_train.mimicry import reason_against
from sngan_train.runtime import choose_precision, reason_not_to_compile

MIMICRY = "mimicry"
EQUAL_BATCH = "with the rival's batch"  # appended to the name of the form that meets the rival
SPECTRAL_NORM = ("none", "spectral-norm", TORCHS_OWN)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is measured."""

    config: RunConfig
    forms: tuple[str, ...]  # of FORMS
    step_form: str  # of FORMS: how discriminator updates are computed
    mimicry: bool
    normalizations: bool  # every method, not spectral norm alone
    rounds: int  # of whole iterations
    pairs: int  # of discriminator updates
    device: torch.device


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Contenders that took turns."""

    title: str
    baseline: str  # the name that the others are compared with
    images_per_call: int  # real images that one call of a contender learns from
    warm_ups: Mapping[str, WarmUp]
    timings: Timings

    def cost(self, name: str) -> Spread:
        """Its seconds, with the baseline's as 1."""
        return self.timings.ratio(name, self.baseline)

    def speed_up(self, name: str) -> Spread:
        """How many times as fast as the baseline."""
        return self.timings.ratio(self.baseline, name)

    def images_per_second(self, name: str) -> float:
        """From the median time."""
        return self.images_per_call / self.timings.spread(name).median


def possible_forms(config: RunConfig, device: torch.device) -> tuple[list[str], dict[str, str]]:
    """The forms that this machine can run, MIMICRY among them, and the reason against each other one."""
    against: dict[str, str] = {}
    if choose_precision("auto", device) is not torch.bfloat16:
        against |= dict.fromkeys(("bfloat16", "bfloat16-compiled"), "this processor does not multiply in bfloat16")
    if reason := reason_not_to_compile(device):
        against |= {name: f"torch.compile: {reason}" for name, form in FORMS.items() if form.compiled}
    if reason := reason_against(config):
        against[MIMICRY] = reason
    return [name for name in (*FORMS, MIMICRY) if name not in against], against


def run(plan: Plan, clock: Clock, say: Callable[[str], object]) -> list[Comparison]:
    """Warm everything up, say how long the rest takes, then measure."""
    config, optimizer = plan.config, plan.config.optimizer
    batch = config.training.batch_size
    prepared = []
    if len(plan.forms) > 1:
        iterations = {name: training_iteration(config, FORMS[name], plan.device) for name in plan.forms}
        baseline = "plain" if "plain" in plan.forms else plan.forms[0]
        prepared.append(
            _Prepared("whole iterations", baseline, batch * optimizer.critic_steps, iterations, plan.rounds)
        )
    if plan.mimicry:
        equal = config.override({"training": {"generator_batch_multiple": 1}})
        rivals = {
            MIMICRY: mimicry_iteration(config, plan.device),
            f"{plan.step_form}, {EQUAL_BATCH}": training_iteration(equal, FORMS[plan.step_form], plan.device),
        }
        prepared.append(
            _Prepared("whole iterations, torch-mimicry", MIMICRY, batch * optimizer.critic_steps, rivals, plan.rounds)
        )
    methods = (*NORMALIZATIONS, TORCHS_OWN) if plan.normalizations else SPECTRAL_NORM
    updates = {name: discriminator_update(config, name, FORMS[plan.step_form], plan.device) for name in methods}
    title = f"one discriminator update, {plan.step_form}"
    prepared.append(_Prepared(title, "none", batch, updates, plan.pairs))

    for part in prepared:
        for name, contender in part.contenders.items():
            say(f"warming up: {part.title}: {name}")
            part.warm_ups[name] = warm_up(contender, clock)
    remaining_s = sum(part.rounds * sum(times.next_s for times in part.warm_ups.values()) for part in prepared)
    say(f"measuring: about {max(1, round(remaining_s / 60))} min")
    return [part.measure(clock, say) for part in prepared]


@dataclasses.dataclass(slots=True)
class _Prepared:
    title: str
    baseline: str
    images_per_call: int
    contenders: Mapping[str, Contender]
    rounds: int
    warm_ups: dict[str, WarmUp] = dataclasses.field(default_factory=dict)

    def measure(self, clock: Clock, say: Callable[[str], object]) -> Comparison:
        timings = take_turns(
            self.contenders, self.rounds, clock, lambda done: say(f"{self.title}: round {done} of {self.rounds}")
        )
        return Comparison(
            title=self.title,
            baseline=self.baseline,
            images_per_call=self.images_per_call,
            warm_ups=self.warm_ups,
            timings=timings,
        )


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures depend on beside the code."""
    return {
        "date": datetime.date.today().isoformat(),
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1),  # over the last minute, at the start: 0 is an idle machine
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def processor_name() -> str:
    """As the operating system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return found or platform.processor() or platform.machine()
