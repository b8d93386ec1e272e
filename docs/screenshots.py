"""Make the pictures of the documentation from synthetic studies: python docs/screenshots.py [folder].

Needs Chromium with its driver, and selenium (pip install 'medseg[test]').
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from medseg.evaluation.options import ScoringOptions
from medseg.evaluation.results import Evaluation
from medseg.evaluation.scores import score_arrays
from medseg.phantom.make import DEMO, PhantomOptions, make_phantom
from medseg.reports.page import ReportStudy, write_report
from medseg.types import Volume

CLASSES = ("liver", "tumour")
SCORING = ScoringOptions(lesions=("tumour",))
PORT = 5057


def demo_report(path: Path, studies: int = 16, options: PhantomOptions = DEMO) -> list[Path]:
    """A report of phantoms with segmentations as a network makes them: smooth, a little off, small tumours missed."""
    scores, shown = [], []
    for index in range(studies):
        image, reference = make_phantom(7, index, options)
        segmentation = imperfect(reference, seed=index)
        study_id = f"phantom_{index:03d}"
        scores.append(
            score_arrays(study_id, reference.voxels, segmentation.voxels, CLASSES, reference.grid.affine, SCORING)
        )
        loaded = (image, reference, segmentation)
        shown.append(ReportStudy(study_id, lambda loaded=loaded: loaded))
    return write_report(
        path,
        Evaluation(tuple(scores)),
        shown,
        title="Liver and tumour: synthetic studies",
        facts={"images": "phantoms", "segmentations": "references with made-up errors"},
        class_names=CLASSES,
        intensity_range_hu=(-100.0, 240.0),
    )


def imperfect(reference: Volume, seed: int) -> Volume:
    """A segmentation with the errors of a network, more of them the larger ``seed % 5``."""
    rng = np.random.default_rng(seed)
    spacing = np.array(reference.grid.spacing_mm)
    severity = 0.6 + 0.5 * (seed % 5)
    liver = _moved(reference.voxels > 0, rng, spacing, severity)
    found = liver.astype(np.uint8)
    lesions, count = ndimage.label(reference.voxels == 2)
    for lesion in range(1, count + 1):
        mask = lesions == lesion
        diameter_mm = 2 * (mask.sum() * np.prod(spacing) * 3 / 4 / np.pi) ** (1 / 3)
        if diameter_mm > rng.uniform(3, 6 + 5 * severity):
            found[_moved(mask, rng, spacing, 0.6 * severity) & liver] = 2
    return Volume(found, reference.grid)


def _moved(
    mask: NDArray[np.bool_], rng: np.random.Generator, spacing: NDArray[np.float64], severity: float
) -> NDArray[np.bool_]:
    """The mask with its surface moved by some millimetres to and fro."""
    places = np.argwhere(mask)
    box = tuple(slice(max(0, a - 12), b + 13) for a, b in zip(places.min(axis=0), places.max(axis=0), strict=True))
    moved, mask = np.zeros_like(mask), mask[box]
    distance = ndimage.distance_transform_edt(mask, spacing) - ndimage.distance_transform_edt(~mask, spacing)
    coarse = rng.normal(size=[max(2, int(size * mm / 25)) for size, mm in zip(mask.shape, spacing, strict=True)])
    wave = ndimage.zoom(coarse, np.array(mask.shape) / coarse.shape, order=1)
    moved[box] = distance > 2.2 * severity * wave
    return moved


@contextmanager
def browser(width: int, height: int) -> Iterator[Any]:
    """A headless Chromium with a fresh profile that fetches nothing of its own."""
    options = webdriver.ChromeOptions()
    with tempfile.TemporaryDirectory() as profile:
        flags = ["headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "hide-scrollbars"]
        flags += ["disable-background-networking", "disable-component-update", "disable-sync"]
        for flag in [*flags, f"user-data-dir={profile}", f"window-size={width},{height}"]:
            options.add_argument(f"--{flag}")
        options.binary_location = "/usr/bin/chromium"
        driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
        try:
            yield driver
        finally:
            driver.quit()


def picture_report(folder: Path) -> None:
    """``report_page.png``: summary and viewer as they open."""
    with tempfile.TemporaryDirectory() as work, browser(1280, 1530) as driver:
        (report,) = demo_report(Path(work) / "report.html")
        driver.get(report.as_uri())
        WebDriverWait(driver, 20).until(lambda d: d.find_element(By.ID, "viewer").get_attribute("data-ready"))
        driver.save_screenshot(str(folder / "report_page.png"))


PIPELINE = """
name: phantoms
labels: {{liver: 1, tumour: 2}}
data: {{manifest: {folder}/manifest.csv, root: {folder}, fold: 0, mode: patch, patch_size: [32, 32, 32], batch_size: 2}}
preprocessing: {{spacing_mm: [5, 5, 5], intensity_range_hu: [-100, 240]}}
network: {{name: unet, channels: [16, 32, 64], strides: [2, 2], num_res_units: 0, norm: instance}}
training:
  epochs: 16
  steps_per_epoch: 20
  validate_every: 1
  device: cpu
  optimizer: {{name: adamw, learning_rate: 3e-3}}
evaluation: {{tolerance_mm: {{liver: 7}}, lesions: [tumour]}}
runs_dir: {folder}/runs
"""


def picture_mlflow(folder: Path) -> None:
    """``mlflow_page.png``: the charts of a short training, as the link that medseg prints opens them."""
    from medseg.config.load import load_pipeline
    from medseg.phantom.make import PhantomOptions, write_phantoms
    from medseg.runs.stages import run
    from medseg.tracking import newest_run_url, ui_command

    with tempfile.TemporaryDirectory() as name, browser(1400, 1000) as driver:
        work = Path(name)
        write_phantoms(work, 8, seed=1, options=PhantomOptions(DEMO.field_of_view_mm, (2.5, 3.0), (4.0, 5.0)))
        (work / "phantoms.yaml").write_text(PIPELINE.format(folder=work))
        run(load_pipeline(work / "phantoms.yaml", ()))
        command, environment = ui_command(work / "runs", port=PORT)
        server = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
        try:
            address = newest_run_url(work / "runs", PORT)
            assert address is not None
            wait_for(f"http://127.0.0.1:{PORT}/health")
            driver.get(address.replace("?", "/model-metrics?"))
            WebDriverWait(driver, 60).until(lambda d: "val/dice" in d.page_source)
            time.sleep(5)  # the page draws itself anew a few times
            driver.execute_script("document.querySelector(\"button[aria-label='Close']\")?.click()")  # the assistant
            time.sleep(2)
            section = driver.find_element(By.XPATH, "//*[starts-with(normalize-space(text()), 'val/dice')]")
            driver.execute_script("arguments[0].scrollIntoView()", section)
            time.sleep(8)  # charts draw themselves one after the other, and say nothing when they are done
            driver.save_screenshot(str(folder / "mlflow_page.png"))
        finally:
            server.terminate()
            server.wait()


def wait_for(address: str) -> None:
    """Wait, a minute at most, until a server answers."""
    for _ in range(300):
        with suppress(OSError), urllib.request.urlopen(address, timeout=1):
            return
        time.sleep(0.2)
    raise TimeoutError(address)


if __name__ == "__main__":
    to = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    picture_report(to)
    picture_mlflow(to)
