"""What is made of a pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.config.load import load_pipeline
from medseg.config.schema import PipelineConfig
from medseg.data.cache import CachedStudy
from medseg.errors import CheckpointError, ConfigError, GeometryError
from medseg.model.crf import CRF
from medseg.model.inference import Locate
from medseg.model.view import View
from medseg.runs import build
from medseg.runs.network_problems import network_problems
from medseg.runs.studies import label_map_of
from medseg.training.distributed import World
from medseg.training.settings import Training
from medseg.types import Study

Config = Callable[..., PipelineConfig]
CPU = torch.device("cpu")


def _cached(study_id: str, class_voxels: dict[int, int]) -> CachedStudy:
    return CachedStudy(study_id, Path("nowhere"), (32, 32, 32), (1.0, 1.0, 1.0), class_voxels)


class TestModelSpec:
    def test_a_model_is_the_pipelines_own_sections(self, tiny_config: Config) -> None:
        config = tiny_config("preprocessing.spacing_mm=[1.5, null, 3]", "inference.window_size=[8, 12, 16]")
        spec = build.model_spec(config)
        assert (spec.preprocessing, spec.inference) == (config.preprocessing, config.inference)
        assert spec.classes.names == ("liver", "tumour")
        assert (spec.network, list(spec.options["channels"])) == ("unet", [4, 8])

    @pytest.mark.parametrize(
        ("overrides", "view", "size"),
        [
            (["data.mode=patch"], View(), (16, 16, 16)),
            (["data.mode=slice", "data.patch_size=[24, 32]"], View("slice"), (24, 32)),
            (["data.mode=slab", "data.slab_neighbours=2", "data.patch_size=[24, 32]"], View("slab", 2), (24, 32)),
        ],
        ids=["patch", "slice", "slab"],
    )
    def test_windows_are_patches_where_nothing_else_is_said(
        self, tiny_config: Config, overrides: list[str], view: View, size: tuple[int, ...]
    ) -> None:
        spec = build.model_spec(tiny_config(*overrides))
        assert (spec.view, spec.inference.window_size) == (view, size)

    def test_what_is_left_to_a_preset_is_written_out(self, tiny_config: Config) -> None:
        section = "{preset: deeplab_v2, iterations: 4, smoothness_weight: 0, appearance_mm: 20}"
        overrides = [f"inference.crf={section}", "data.mode=slice", "data.patch_size=[16, 16]"]
        found = build.model_spec(tiny_config(*overrides)).inference.crf
        assert found == CRF("deeplab_v2", 4, 0.0, 1.0, 4.0, 20.0, 3.0, axes=2)

    def test_a_coarse_model_is_looked_for_inside_the_models_own_folder(self, tiny_config: Config) -> None:
        own = build.model_spec(tiny_config("inference.locate={spacing_mm: 8}")).inference.locate
        other = build.model_spec(tiny_config("inference.locate={model: /data/coarse, margin_mm: 3}")).inference.locate
        assert own == Locate(spacing_mm=8.0)
        assert other == Locate(Path(build.COARSE_MODEL), margin_mm=3.0)


class TestNetwork:
    def test_weights_are_a_function_of_the_seed(self, tiny_config: Config) -> None:
        weights = []
        for seed in (1, 2, 1):
            torch.rand(1)  # whatever was drawn before
            net = build.network(tiny_config(f"training.seed={seed}"))
            weights.append(next(iter(net.parameters())).detach())
        assert torch.equal(weights[0], weights[2])
        assert not torch.equal(weights[0], weights[1])

    def test_channels_and_classes_fit_the_pipeline(self, tiny_config: Config) -> None:
        net = build.network(tiny_config("data.mode=slab", "data.patch_size=[16, 16]", "data.slab_neighbours=1"))
        assert net(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)


class TestEncoderWeights:
    NETWORK = "name: deeplabv3plus, encoder: resnet18, width: 0.125, atrous_rates: [1, 2, 3]"

    def _file(self, folder: Path) -> Path:
        from medseg.networks.encoders import Backbone

        encoder = Backbone("resnet18", width=0.125).build(2, 3)
        torch.save({**encoder.state_dict(), "fc.weight": torch.zeros(10, 64)}, folder / "resnet18.pth")  # type: ignore[attr-defined]
        return folder / "resnet18.pth"

    def _problems(self, tiny: Path, *overrides: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load_pipeline(tiny, overrides, checks=[network_problems])
        return str(caught.value)

    @pytest.mark.parametrize("inflation", ["centre", "mean"])
    def test_pipeline_trains_from_them_and_its_model_needs_no_file(
        self, tiny_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture, inflation: str
    ) -> None:
        from medseg.inference.load import load_segmenter
        from medseg.runs.stages import run

        path = self._file(tmp_path)
        colours = torch.load(path, weights_only=True)["conv1.weight"]
        expected = colours.sum(1).rot90(-1, (1, 2))
        training = "{epochs: 1, steps_per_epoch: 1, device: cpu, optimizer: {name: sgd, learning_rate: 1e-9}}"
        with caplog.at_level("INFO"):
            result = run(
                tiny_config(
                    f"network={{{self.NETWORK}, encoder_weights: {path}, weights_inflation: {inflation}}}",
                    f"training={training}",
                    "data.fold=all",
                ),
                train_only=True,
            )
        assert any(f"network.encoder_weights: {path}: 100 tensors loaded" in m for m in caplog.messages)
        path.unlink()
        kernel = load_segmenter(result.folder.path).network.get_submodule("encoder.conv1").weight
        assert isinstance(kernel, torch.Tensor)
        found = kernel[:, 0, ..., 3] * (7 if inflation == "mean" else 1)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert (inflation == "centre") is bool(kernel[..., 0].abs().max() < 1e-5)

    def test_another_encoders_are_refused(self, tiny_config: Config, tmp_path: Path) -> None:
        network = self.NETWORK.replace("resnet18", "resnet34")
        config = tiny_config(f"network={{{network}, encoder_weights: {self._file(tmp_path)}}}")
        with pytest.raises(CheckpointError, match="a weights file of another encoder"):
            build.network(config)

    def test_missing_file_is_reported_with_its_line(self, tiny: Path) -> None:
        text = tiny.read_text().replace("name: unet,", "name: unet, encoder_weights: none.pth,")
        tiny.write_text(text)
        line = 1 + next(n for n, row in enumerate(text.splitlines()) if row.startswith("network"))
        network = f"network={{{self.NETWORK}, encoder_weights: none.pth}}"
        assert "network.encoder_weights: expected a file, found none at none.pth" in self._problems(tiny, network)
        assert f"tiny.yaml:{line}: network.encoder_weights: expected a file" in self._problems(tiny)

    def test_network_without_encoder_is_reported_before_any_data_is_read(self, tiny: Path, tmp_path: Path) -> None:
        problems = self._problems(tiny, f"network.encoder_weights={self._file(tmp_path)}")
        assert "network.encoder_weights: UNet has no encoder that takes pretrained weights" in problems

    def test_they_are_no_option_of_the_network(self, tiny_config: Config, tmp_path: Path) -> None:
        config = tiny_config(f"network={{{self.NETWORK}, encoder_weights: {self._file(tmp_path)}}}")
        assert build.model_spec(config).options.keys() == {"encoder", "width", "atrous_rates"}


def test_crops_are_a_function_of_the_seed_and_shared_by_the_pipelines_classes(tiny_config: Config) -> None:
    dataset = build.dataset(tiny_config("data.class_shares={tumour: 3}", "training.seed=9"), [])
    assert (dataset.seed, dataset.class_shares) == (9, {2: 3.0})


class TestLoss:
    def test_dice_and_cross_entropy_are_the_default(self, tiny_config: Config) -> None:
        loss = build.loss(tiny_config(), [])
        assert loss.weights == {"dice": 1.0, "cross_entropy": 1.0}

    def test_balanced_weights_count_the_training_voxels(self, tiny_config: Config) -> None:
        config = tiny_config("training.loss=[{name: cross_entropy, class_weights: balanced}]")
        studies = [_cached("a", {0: 600, 1: 100}), _cached("b", {0: 200, 1: 100, 255: 50})]
        # 800 background, 200 liver, no tumour: 1/800 and 1/200, scaled to a mean of 1
        weights = build.loss(config, studies).terms["cross_entropy"].class_weights.tolist()
        assert weights == pytest.approx([0.4, 1.6, 0.0])


class TestLabelled:
    def test_the_batch_is_shared_out_among_the_processes(self, tiny_config: Config) -> None:
        stream = build.labelled(tiny_config("data.batch_size=4", "data.num_workers=2"), [], World(1, 2, 1))
        assert (stream.batch_size, stream.num_workers, stream.rank, stream.world_size) == (4, 2, 1, 2)

    def test_batch_that_the_processes_cannot_share_is_refused(self, tiny_config: Config) -> None:
        config = tiny_config("data.batch_size=3")
        with pytest.raises(ConfigError, match=r"data\.batch_size: expected a multiple of the 2 processes .* found 3"):
            build.labelled(config, [], World(0, 2, 0))


class TestValidator:
    def test_without_validation_studies_there_is_none(self, tiny_config: Config) -> None:
        config = tiny_config()
        assert build.validator([], build.model_spec(config), label_map_of(config)) is None

    def test_reads_image_in_hu_and_class_indices(self, tiny_config: Config, phantoms: Path) -> None:
        paths = (phantoms / "images" / "phantom_000.nii.gz", phantoms / "labels" / "phantom_000.nii.gz")
        config = tiny_config("labels={liver: 2, tumour: 1}")
        spec = build.model_spec(config)
        validator = build.validator([Study("a", "a", "0", *paths)], spec, label_map_of(config))
        assert validator is not None
        image, label = validator.studies[0].read()
        assert image.voxels.shape == label.shape
        assert image.voxels.min() < -900
        assert [int((label == c).sum()) for c in (1, 2)] == [189, 3521]
        assert validator.spec is spec

    def test_label_on_another_grid_is_refused_by_the_studys_name(self, tiny_config: Config, phantoms: Path) -> None:
        paths = (phantoms / "images" / "phantom_000.nii.gz", phantoms / "labels" / "phantom_001.nii.gz")
        config = tiny_config()
        studies = [Study("mixed_up", "a", "0", *paths)]
        validator = build.validator(studies, build.model_spec(config), label_map_of(config))
        assert validator is not None
        with pytest.raises(GeometryError, match="mixed_up"):
            validator.studies[0].read()


@pytest.fixture
def _torch_as_it_was() -> Any:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.mark.usefixtures("_torch_as_it_was")
def test_threads_and_determinism_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    for deterministic, threads in ((True, 2), (False, 1)):
        build.set_up_torch(Training(deterministic=deterministic, threads=threads))
        assert torch.are_deterministic_algorithms_enabled() is deterministic
        assert torch.get_num_threads() == threads
