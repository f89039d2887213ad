"""The `sngan` command as a person meets it: help, exit codes, one clear line for everything that is wrong."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sngan_train.presets import PRESETS

HELP_LIMIT_S = 0.5
FIRST_IMAGE_LIMIT_S = 2.0
COMMANDS = (
    "demo",
    "presets",
    "train",
    "export",
    "sample",
    "serve",
    "healthcheck",
    "doctor",
    "bench",
    "evaluate",
    "spectrum",
    "study",
)
HEAVY = ("torch", "torchvision", "onnx", "onnxruntime", "sklearn", "numpy", "PIL")


def sngan(*arguments: object, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sngan_cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def least_processor_time(runs: int, *arguments: object) -> float:
    """Seconds of a core, which others on the machine stretch far less than the time by the clock."""
    times = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert sngan(*arguments).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def best_of(runs: int, *arguments: object) -> float:
    """The machine is shared: the shortest of a few runs is what the program itself needs."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        assert sngan(*arguments).returncode == 0
        times.append(time.perf_counter() - started)
    return min(times)


def test_help_lists_every_command() -> None:
    text = sngan("--help").stdout
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = sngan(command, "--help")
    assert result.returncode == 0
    assert "Usage: " in result.stdout
    assert result.stderr == ""


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = f"import sys; import sngan_cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert 0 < least_processor_time(5, "--help") <= HELP_LIMIT_S


def test_sample_is_quick_and_imports_no_torch(tiny_generator_onnx: Path, tmp_path: Path) -> None:
    output = tmp_path / "sample.png"
    assert best_of(3, "sample", tiny_generator_onnx, "-o", output) <= FIRST_IMAGE_LIMIT_S
    code = (
        "import sys; sys.argv = ['sngan', 'sample', sys.argv[1], '-o', sys.argv[2]]; import sngan_cli.main as m\n"
        "try: m.main()\nexcept SystemExit as end: assert not end.code\n"
        "print([n for n in ('torch', 'onnx', 'sklearn') if n in sys.modules])"
    )
    arguments = [sys.executable, "-c", code, str(tiny_generator_onnx), str(output)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_sample_draws_the_classes_asked_for(tiny_generator_onnx: Path, tmp_path: Path) -> None:
    one, grid, again = tmp_path / "one.png", tmp_path / "grid.png", tmp_path / "again.png"
    result = sngan("sample", tiny_generator_onnx, "--class", "dog", "--seed", 3, "-o", one)
    assert result.stdout == f"{one}\n"
    assert sngan("sample", tiny_generator_onnx, "--class", "cat", "--class", "2", "-o", grid).returncode == 0
    assert sngan("sample", tiny_generator_onnx, "--class", "1", "--seed", 3, "-o", again).returncode == 0
    assert one.read_bytes() == again.read_bytes()  # a class by name in other letters, and by number
    assert np.asarray(Image.open(one)).shape == (6, 4, 3)
    assert np.asarray(Image.open(grid)).shape == (6 + 4, 2 * 4 + 6, 3)  # two beside each other, 2 pixels around


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of the real command."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    settings = ("training.total_steps=2", "generator.channels=8", "discriminator.channels=8")
    options = [part for setting in settings for part in ("--set", setting)]
    result = sngan("train", "--run", folder, *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{folder}\n"
    assert f"next: sngan export {folder}" in result.stderr
    return folder


@pytest.mark.slow
def test_a_run_and_its_export_draw_the_same(run: Path, tmp_path: Path) -> None:
    exported = sngan("export", run, "-o", tmp_path / "out")
    assert exported.returncode == 0, exported.stderr
    assert exported.stdout == f"{tmp_path / 'out'}\n"
    pictures = []
    for source in (run, tmp_path / "out" / "generator.onnx"):
        path = tmp_path / f"{len(pictures)}.png"
        assert sngan("sample", source, "--class", 7, "-n", 4, "--seed", 5, "-o", path).returncode == 0
        pictures.append(np.asarray(Image.open(path)).astype(int))
    difference = np.abs(pictures[0] - pictures[1])
    assert difference.max() <= 1  # a value between two grey levels may round either way
    assert (difference > 0).mean() < 0.001


def test_presets_are_listed_with_source_and_score() -> None:
    result = sngan("presets")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    position = lines.index("paper/cifar10-cnn/sn/{A..F}")
    entry = " ".join(lines[position : position + 4])
    assert "Miyato et al. 2018, tables 1 to 3" in entry
    assert "IS 7.42±.08, FID 29.3 (of the best of A to F, which the paper does not name)" in entry
    assert "10,000 real and 5,000 generated" in result.stderr
    everything = sngan("presets", "--all").stdout.splitlines()
    assert {"paper/stl10-cnn/orthonormal/F", "paper/imagenet128-layernorm", "custom-64"} <= set(everything)
    assert len([line for line in everything if not line.startswith(" ")]) == len(PRESETS)


def test_train_lays_settings_over_one_another(tmp_path: Path) -> None:
    import json

    (tmp_path / "mine.toml").write_text("[training]\nseed = 5\nbatch_size = 8\n")
    result = sngan(
        "train", "--preset", "cifar10", "--config", tmp_path / "mine.toml", "--seed", 7, "--data", "digits",
        "--set", "optimizer.critic_steps=3", "--dry-run",
    )  # fmt: skip
    config = json.loads(result.stdout)
    assert (config["training"]["seed"], config["training"]["batch_size"]) == (7, 8)
    assert (config["data"]["source"], config["optimizer"]["critic_steps"]) == ("digits", 3)
    assert config["generator"]["channels"] == 256


BAD_COMMANDS = [
    (("train", "--preset", "digit"), 2, "did you mean digits"),
    (("train", "--set", "generator.chanels=8"), 2, "did you mean generator.channels"),
    (("train", "--set", "training.batch_size=0"), 2, "training.batch_size must be at least 1"),
    (("train", "--set", "training.batch_size=many"), 2, "must be a whole number, got 'many'"),
    (("train", "--config", "nothing.toml"), 2, "nothing.toml: cannot be read"),
    (("train", "--config", "broken.toml"), 2, "broken.toml: not valid TOML"),
    (("train", "--data", "nothing"), 2, "unknown data source 'nothing'"),
    (("train", "--data", "folder:nothing"), 1, "nothing: no such folder or archive"),
    (("train", "--data", "folder:empty"), 1, "empty: no images"),
    (("train", "--data", "folder:broken.toml"), 1, "broken.toml: neither a folder nor a readable tar"),
    (("train", "--device", "tpu"), 2, "'tpu' is not one of auto, cpu, cuda"),
    (("train", "--seed", "-1"), 2, "training.seed must be 0"),
    (("train", "--run", "broken.toml"), 1, "broken.toml: cannot be written to"),
    (("presets", "cifar"), 2, "did you mean cifar10"),
    (("export", "nothing", "-o", "out"), 1, "nothing: no such folder"),
    (("export", "empty", "-o", "out"), 1, "empty: no checkpoint in it yet"),
    (("export", "broken.toml", "-o", "out"), 1, "broken.toml: no such folder"),
    (("sample", "nothing.onnx"), 1, "nothing.onnx: no such file"),
    (("sample", "broken.toml"), 1, "broken.toml: not a readable ONNX generator"),
    (("sample", "empty"), 1, "empty: no checkpoint in it yet"),
    (("sample", "good.onnx", "--class", "cst"), 2, 'did you mean "cat"'),
    (("sample", "good.onnx", "--class", "3"), 2, "3 is out of range"),
    (("sample", "good.onnx", "-n", "0"), 2, "n: 0 is out of range"),
    (("sample", "good.onnx", "-n", "65"), 2, "an integer, 1 ... 64"),
    (("sample", "good.onnx", "--seed", "-1"), 2, "seed: -1 is out of range"),
    (("sample", "good.onnx", "--truncation", "0"), 2, "truncation: 0.0 cannot be used"),
    (("sample", "good.onnx", "--truncation", "nan"), 2, "truncation: NaN cannot be used"),
    (("sample", "good.onnx", "-o", "broken.toml/x.png"), 1, "cannot be written"),
    (("sample", "http://127.0.0.1:9"), 1, "127.0.0.1:9"),
    (("serve", "nothing.mar"), 1, "nothing.mar"),
    (("serve", "broken.toml"), 1, "broken.toml"),
    (("serve", "good.onnx", "--port", "70000"), 2, "port must be 0"),
    (("serve", "good.onnx", "--host", "0.0.0.0"), 2, "--behind-proxy"),
    (("serve", "good.onnx", "--provider", "abacus"), 2, "provider must be one of"),
    (("healthcheck", "--management-url", "http://127.0.0.1:9"), 1, "not ready"),
    (("evaluate",), 2, "name what to evaluate"),
    (("evaluate", "nothing"), 1, "nothing: no such file"),
    (("evaluate", "empty"), 1, "empty: no checkpoint in it yet"),
    (("evaluate", "broken.toml"), 1, "broken.toml: not a readable ONNX generator"),
    (("evaluate", "good.onnx", "--protocol", "papr"), 2, "did you mean paper"),
    (("evaluate", "good.onnx", "--features", "inceptoin"), 2, "did you mean inception"),
    (("evaluate", "good.onnx", "--weights", "raw"), 2, "averaged generator alone"),
    (("evaluate", "good.onnx", "--weights", "best"), 2, "not one of ema, raw"),
    (("evaluate", "good.onnx"), 2, "name them with --real"),
    (("evaluate", "good.onnx", "--against", "empty"), 2, "has not been evaluated yet"),
    (("evaluate", "good.onnx", "--features", "inception", "--inception-weights", "nothing.pth"), 1, "nothing.pth"),
    (("study", "setings"), 2, "study 'setings' is unknown"),
    (("study", "settings", "--scale", "huge"), 2, "known: tiny, small, paper"),
    (("study", "settings", "--methods", "sm"), 2, "--methods 'sm' is not in this study"),
    (("study", "settings", "--launcher", "slurm"), 2, "not one of local, ray"),
    (("study", "settings", "--scale", "paper", "--steps", "5"), 2, "--steps goes with"),
    (("nonsense",), 2, "No such command"),
    (("train", "--nonsense"), 2, "No such option"),
    (("train", "--seed", "x"), 2, "Invalid value for '--seed'"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), BAD_COMMANDS, ids=[" ".join(c[0]) for c in BAD_COMMANDS])
def test_everything_wrong_is_one_clear_line(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    tiny_generator_onnx: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.toml").write_text("= nothing")
    (tmp_path / "good.onnx").write_bytes(tiny_generator_onnx.read_bytes())
    before = sorted(path.name for path in tmp_path.rglob("*"))
    result = sngan(*arguments)
    assert result.returncode == code, result.stderr
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    left = sorted(path.name for path in tmp_path.rglob("*"))
    assert left == before


def test_a_truncated_onnx_file_is_named(tiny_generator_onnx: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(tiny_generator_onnx.read_bytes()[:-100])
    result = sngan("sample", torn, "-o", tmp_path / "x.png")
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)
    assert "torn.onnx" in result.stderr
    assert not (tmp_path / "x.png").exists()


@pytest.mark.slow
def test_interrupting_training_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    import signal

    settings = ("generator.channels=8", "discriminator.channels=8", "training.log_every=1", "training.total_steps=9999")
    options = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "sngan_cli", "train", "--run", str(tmp_path / "run"), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        stats = tmp_path / "run" / "stats.jsonl"
        deadline = time.monotonic() + 60
        while not stats.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    assert len(list((tmp_path / "run" / "checkpoints").glob("step-*"))) == 1


def test_doctor_reports_every_subject() -> None:
    result = sngan("doctor")
    subjects = {line.split()[1] for line in result.stdout.splitlines() if not line.startswith(" ")}
    assert {"python", "train", "export", "serve", "onnxruntime", "provider", "java", "cores", "gpu"} <= subjects
    assert result.returncode == 0, result.stdout
    assert "CPU loads" in result.stdout
