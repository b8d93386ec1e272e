import logging
import math
from pathlib import Path

import pytest

from medseg.config.load import Problem, dump, load_pipeline
from medseg.errors import ConfigError

ROOT = Path(__file__).parents[2]
PIPELINES = sorted(ROOT.glob("pipelines/**/*.yaml"))
FRAGMENTS = sorted((ROOT / "configs" / "training").glob("*.yaml"))
VALID = """\
name: liver_ct
labels: {liver: 1, tumour: 2}
data:
  manifest: m.csv
  patch_size: [32, 32, 32]
network:
  name: deeplab
  output_stride: 16
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def file(text=VALID, name="x.yaml"):
        (tmp_path / name).write_text(text)
        return Path(name)

    return file


def mistakes(path, overrides=(), checks=()):
    with pytest.raises(ConfigError) as caught:
        load_pipeline(path, overrides, checks)
    return str(caught.value).splitlines()


def test_a_small_pipeline_loads_with_defaults(write):
    config = load_pipeline(write())
    assert config.name == "liver_ct"
    assert config.data.patch_size == (32, 32, 32)
    assert config.network.options == {"output_stride": 16}
    assert config.runs_dir == Path("runs")


def test_overrides_win_and_create_what_is_absent(write):
    overrides = [
        "data.root=/x",
        "training.optimizer={name: adamw, learning_rate: 1e-3}",
        "training.max_minutes=null",
        "training.loss=[{name: dice}]",
        "training.loss.0.weight=2",
        "augmentation.flip.probability=0.2",
        "tracking=none",
    ]
    config = load_pipeline(write(), overrides[:4] + overrides[5:])
    assert config.data.root == Path("/x")
    assert config.training.optimizer.learning_rate == 0.001
    assert [term.name for term in config.training.loss] == ["dice"]
    assert config.augmentation.flip.probability == 0.2
    assert config.tracking == "none"
    assert load_pipeline(write(), overrides).training.loss[0].weight == 2


def test_another_network_by_override_takes_none_of_the_files_options(write, caplog):
    with caplog.at_level(logging.INFO, logger="medseg"):
        config = load_pipeline(write(), ["network.name=segnet", "network.depth=4"])
    assert (config.network.name, config.network.options) == ("segnet", {"depth": 4})
    assert "dropped the options of 'deeplab' (x.yaml:6): output_stride" in caplog.text


def test_references_and_path_variables_are_resolved(write, monkeypatch):
    monkeypatch.delenv("MEDSEG_DATA", raising=False)
    text = VALID.replace("manifest: m.csv", "manifest: ${data.root}/m.csv\n  root: ${path_env:MEDSEG_DATA,../data}/a")
    assert load_pipeline(write(text)).data.manifest == Path("../data/a/m.csv")
    assert load_pipeline(write(text), ["data.root=/b"]).data.manifest == Path("/b/m.csv")


def test_augmentation_null_turns_a_fragments_augmentation_off(write):
    write("augmentation: {flip: {}, noise: {}}\n", "f.yaml")
    path = write("include: f.yaml\n" + VALID)
    assert load_pipeline(path).augmentation.noise is not None
    off = load_pipeline(path, ["augmentation=null"]).augmentation
    assert (off.flip, off.noise) == (None, None)


def test_all_mistakes_come_in_one_error_with_file_line_and_nearest_name(write):
    write("training:\n  precision: bf16\n", "f.yaml")
    text = (
        "include: f.yaml\n"
        + VALID.replace("manifest: m.csv", "mode: slices").replace("16", "${oc.env:HOME}")
        + "training:\n  epohs: 3\n  seed: 1\n  seed: 2\ninference: {postprocess: {keep_largest: [livr]}}\n"
    )

    def check(pipeline):
        return [Problem("network.output_stride", "never shown: reported already"), Problem("network.name", "is bad")]

    assert mistakes(write(text), ["training.batch_size=3", "training.epochs=ten", "seed"], [check]) == [
        "x.yaml:4: data.manifest: missing; expected a path",
        "x.yaml:5: data.mode: expected 'slice', 'slab' or 'patch', found 'slices'; did you mean 'slice'?",
        "x.yaml:8: network.name: is bad",
        "x.yaml:9: network.output_stride: expected ${section.key} or ${path_env:MEDSEG_NAME,default}, "
        "found '${oc.env:HOME}'",
        "x.yaml:11: training.epohs: unknown key; did you mean 'epochs'?",
        "x.yaml:13: training.seed: given twice, first on line 12",
        "x.yaml:14: inference.postprocess.keep_largest: expected a class of labels (liver or tumour), found 'livr'; "
        "did you mean 'liver'?",
        "f.yaml:2: training.precision: expected 'float32', 'bfloat16' or 'float16', found 'bf16'; "
        "did you mean 'bfloat16'?",
        "override 1 (training.batch_size=3): training.batch_size: unknown key; "
        "did you mean 'data.batch_size' or 'inference.batch_size'?",
        "override 2 (training.epochs=ten): training.epochs: expected a whole number of at least 1, found 'ten'",
        "override 3 (seed): expected section.key=value such as training.epochs=50",
    ]


def test_contradictions_between_sections_are_said_once_with_their_lines(write):
    text = VALID + "inference:\n  window_size: [32, 32]\n"
    assert mistakes(write(text)) == ["x.yaml:10: inference.window_size: expected 3 numbers in mode patch, found 2"]


def test_several_findings_at_one_key_are_all_shown(write):
    assert len(mistakes(write(VALID + "inference: {postprocess: {keep_largest: [a, b]}}\n"))) == 2


def test_the_old_place_of_keep_largest_leads_to_the_new_one(write):
    expected = "x.yaml:9: inference.keep_largest: unknown key; did you mean 'inference.postprocess.keep_largest'?"
    assert mistakes(write(VALID + "inference: {keep_largest: [liver]}\n")) == [expected]


def test_checks_see_the_merged_plain_pipeline(write):
    seen = []
    load_pipeline(write(), ["network.output_stride=8"], [lambda pipeline: seen.append(pipeline["network"]) or []])
    assert seen == [{"name": "deeplab", "output_stride": 8}]


def test_a_finding_of_a_check_alone_is_an_error(write):
    found = mistakes(write(), checks=[lambda pipeline: [Problem("network.output_stride", "expected 8, found 16")]])
    assert found == ["x.yaml:8: network.output_stride: expected 8, found 16"]


def test_what_an_unreadable_fragment_may_hold_is_not_called_missing(write):
    assert mistakes(write("include: gone.yaml\nname: x\ntraining: {epochs: 0}\n")) == [
        "x.yaml:1: include: gone.yaml: no such file",
        "x.yaml:3: training.epochs: expected a whole number of at least 1, found 0",
    ]


def test_an_almost_empty_file_names_the_missing_sections(write):
    assert [line.split(";")[0] for line in mistakes(write("runs_dir: x\n"))] == [
        "x.yaml: name: missing",
        "x.yaml: labels: missing",
        "x.yaml: data: missing",
        "x.yaml: network: missing",
    ]
    assert mistakes(write("")) == ["x.yaml: the file is empty"]


def test_text_that_no_json_can_hold_is_still_a_config_error(write):
    assert "x.yaml" in mistakes(write(VALID.replace("deeplab", r'"\ud800"')))[0]


def test_settings_without_effect_are_warned_about_with_their_line(write, caplog):
    with caplog.at_level(logging.WARNING, logger="medseg"):
        load_pipeline(write(VALID.replace("manifest", "slab_neighbours: 3\n  manifest")))
    assert caplog.messages == ["x.yaml:4: data.slab_neighbours: has no effect in mode patch; it belongs to mode slab"]


TRICKY = """
tracking: {tags: {a: 'no', b: '1e-3', c: 'null', d: '1:30', e: 'ä # b', f: "x\\ny", g: '', h: '010'}}
training: {optimizer: {name: adamw, learning_rate: 1e-5}, max_minutes: 0.5}
preprocessing: {intensity_range_hu: [-100, 1e3]}
augmentation: {flip: {axes: [R, A]}, noise: {std: [0, 0.05]}}
"""


def test_a_dumped_config_loads_to_the_same(write):
    config = load_pipeline(write(VALID + TRICKY))
    text = dump(config)
    assert load_pipeline(write(text, "dumped.yaml")) == config
    assert list(type(config).model_fields) == [line.split(":")[0] for line in text.splitlines() if line[:1].isalpha()]
    assert math.isclose(config.training.optimizer.learning_rate, 1e-5)


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_every_training_fragment_fits_the_schema(path, write):
    config = load_pipeline(write(f"include: {path}\n" + VALID))
    assert config.training.optimizer.name in path.name


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_every_shipped_pipeline_loads_and_dumps(path, write, monkeypatch):
    monkeypatch.delenv("MEDSEG_DATA", raising=False)
    config = load_pipeline(path)
    assert load_pipeline(write(dump(config))) == config
