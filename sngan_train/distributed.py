"""Data-parallel training: the processes that torchrun starts share each update's images and average their gradients.

Weights, u and v stay equal everywhere without being sent: all processes start from one seed and apply the same averaged
gradients. torch's DistributedDataParallel is not used, as it documents that it does not work with
torch.autograd.grad, which the gradient penalty needs, and as it sends buffers (u, v, batch statistics) around by
itself. Batch-norm statistics are each process's own, as in the official code. NCCL on GPUs has not been run yet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from sngan_train.errors import ConfigError, TrainError
from sngan_train.models.feature_norm import STATISTICS

T = TypeVar("T")

# Of a process that waits for another, as while that one downloads data. One that dies is noticed at once.
TIMEOUT = timedelta(minutes=30)
MEET_EVERY_S = 0.1
INTERRUPTED = 130  # exit code


class LostProcessError(TrainError):
    """Another process is gone, or cannot be reached any more."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """This process among those that train together; alone by default.

    With more than one, the methods are calls that all processes make in the same order, between `joined`. Each
    raises LostProcessError if another process is gone.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0  # on its machine: the number of its GPU
    supervised: bool = False  # torchrun started it, and repeats to it the signals that it gets itself

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Processes:
        """What torchrun, or a launcher that sets the same variables, says of this process.

        Raises:
            ConfigError: several processes are announced, and a variable is missing or no number.
        """

        def number(name: str) -> int:
            text = environment.get(name) or ("1" if name == "WORLD_SIZE" else "0")
            try:
                return int(text)
            except ValueError:
                raise ConfigError(f"the environment has {name}={text!r}, which is no number; {advice}") from None

        advice = "start several processes with torchrun, or unset WORLD_SIZE to train with one"
        world_size = number("WORLD_SIZE")
        supervised = "TORCHELASTIC_RUN_ID" in environment
        if world_size <= 1:
            return cls(supervised=supervised)
        missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
        if missing:
            raise ConfigError(f"the environment has WORLD_SIZE={world_size} and no {', no '.join(missing)}; {advice}")
        return cls(rank=number("RANK"), world_size=world_size, local_rank=number("LOCAL_RANK"), supervised=supervised)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and talks."""
        return self.rank == 0

    def average_gradients(self, network: nn.Module) -> None:
        """Make every gradient of `network` the mean over the processes, in one message."""
        if self.world_size == 1:
            return
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        with _others_needed():
            distributed.all_reduce(flat)
        flat /= self.world_size
        pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over the processes."""
        if self.world_size == 1:
            return values
        values = values.clone()
        with _others_needed():
            distributed.all_reduce(values)
        return values / self.world_size

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set on any of the processes; does not wait for a GPU."""
        if self.world_size == 1:
            return flag
        flags = torch.tensor(int(flag))
        with _others_needed():
            distributed.all_reduce(flags, op=distributed.ReduceOp.MAX)
        return bool(flags.item())

    def from_first(self, value: T) -> T:
        """The first process's `value`, which must be picklable."""
        if self.world_size == 1:
            return value
        values = [value]
        with _others_needed():
            distributed.broadcast_object_list(values)
        return values[0]

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """Do the block first on the first process, then on one of each other machine, then on the rest.

        For what leaves files that the later ones find, on a disk of the machine or of all machines.
        """
        turn = 0 if self.is_first else 1 if self.local_rank == 0 else 2
        for _ in range(turn):
            self.any(False)
        yield
        for _ in range(2 - turn):
            self.any(False)

    def require_same(self, settings: Mapping[str, object]) -> None:
        """Raise ConfigError, with the first difference, unless `settings` are the same on every process."""
        mine = {name: str(value) for name, value in settings.items()}
        everybodys = self.gather((socket.gethostname(), mine))
        first_host, first = everybodys[0]
        for rank, (host, theirs) in enumerate(everybodys):
            for name, value in theirs.items():
                if value != first.get(name):
                    raise ConfigError(
                        f"process {rank} on {host} has {name} = {value}, process 0 on {first_host} has "
                        f"{first.get(name)}; start all processes with the same command, code and data"
                    )

    def require_equal(self, networks: Mapping[str, nn.Module], step: int) -> None:
        """Raise TrainError unless weights, u and v of `networks` are the same bits on every process."""
        if self.world_size == 1:
            return
        mine = {
            f"{kind}.{name}": hashlib.sha256(value.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
            for kind, network in networks.items()
            for name, value in network.state_dict().items()
            if name.rpartition(".")[2] not in STATISTICS
        }
        everybodys = self.gather(mine)
        differing = [name for name in mine if len({theirs[name] for theirs in everybodys}) > 1]
        if differing:
            raise TrainError(
                f"step {step}: {len(differing)} tensors differ between the {self.world_size} processes, the first is "
                f"{differing[0]}; nothing was saved. All processes must run the same code on the same kind of machine"
            )

    def gather(self, value: T) -> list[T]:
        """Every process's `value`, by rank."""
        if self.world_size == 1:
            return [value]
        values: list[T] = [value] * self.world_size
        with _others_needed():
            distributed.all_gather_object(values, value)
        return values


@contextlib.contextmanager
def joined(processes: Processes, device: torch.device) -> Iterator[None]:
    """Connect this one of the `processes` with the others, for as long as the context lasts.

    A failure is told once, by the process that fails first, whose error leaves the context; the others fail with it
    or for want of it, and leave by SystemExit.

    Raises:
        TrainError: the processes do not find one another.
    """
    if processes.world_size == 1:
        yield
        return
    # Gloo beside NCCL, for what is agreed upon without the GPU.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    address, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    try:
        store = _meet(processes, address, int(port))
        distributed.init_process_group(
            backend, store=store, rank=processes.rank, world_size=processes.world_size, timeout=TIMEOUT
        )
    except (RuntimeError, ValueError) as error:  # torch's DistError, and what Gloo raises, are RuntimeErrors
        raise TrainError(
            f"process {processes.rank} of {processes.world_size} does not reach the others through "
            f"{address}:{port} ({_reason(error)})"
        ) from error
    try:
        try:
            yield
        except KeyboardInterrupt:
            if processes.is_first:
                raise
            raise SystemExit(INTERRUPTED) from None
        except TrainError as error:
            if not _fails_first(store):
                raise SystemExit(error.exit_code) from None
            if not isinstance(error, LostProcessError):
                error.__cause__ = None  # torchrun's report is to hold the text alone
                error.__suppress_context__ = True
                get_error_handler().record_exception(error.with_traceback(None))
            raise
        except Exception as error:
            _fails_first(store)
            get_error_handler().record_exception(error)
            raise
    finally:
        distributed.destroy_process_group()


def _meet(processes: Processes, address: str, port: int) -> PrefixStore:
    """A store that holds nothing yet, the same for all `processes`.

    torchrun restarts processes over one store, where torch would find the addresses of the dead. So the first process
    makes up a name for the attempt, and goes by it once all others that live have answered to it.
    """
    hosts = processes.is_first and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = TCPStore(address, port, is_master=hosts, timeout=TIMEOUT, wait_for_workers=False)
    mine = uuid.uuid4().hex
    if processes.is_first:
        attempt = mine
        store.set("sngan/attempt", attempt)
        answers = [store.get(f"sngan/{attempt}/{rank}").decode() for rank in range(1, processes.world_size)]
        store.set(f"sngan/{attempt}/met", " ".join(answers))
    else:
        met = ""
        while mine not in met:
            attempt = store.get("sngan/attempt").decode()  # perhaps one that is over
            store.set(f"sngan/{attempt}/{processes.rank}", mine)
            time.sleep(MEET_EVERY_S)
            key = f"sngan/{attempt}/met"
            met = store.get(key).decode() if store.check([key]) else ""
    return PrefixStore(f"sngan/{attempt}", store)


def _fails_first(store: PrefixStore) -> bool:
    """Whether no other process has asked this before, as far as can be known."""
    try:
        return bool(store.add("failures", 1) == 1)
    except RuntimeError:  # who keeps the store is gone
        return True


@contextlib.contextmanager
def _others_needed() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            f"another process is gone: it was killed, or its machine cannot be reached ({_reason(error)}); the same "
            "command goes on from the last checkpoint"
        ) from error


def _reason(error: BaseException) -> str:
    """What Gloo and torch say, without the place in their source and their advice."""
    said = re.sub(r"^\[[^]]*\] *", "", str(error).strip()).partition("\n")[0]
    return said.partition(". ")[0].rstrip(".") or type(error).__name__
