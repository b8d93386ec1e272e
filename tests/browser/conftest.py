"""A headless Chromium for the tests that look at the page as a person does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A driver with a fresh profile, 1280 x 1000; it keeps the console's and the network's log."""
    if not CHROMIUM or not DRIVER:
        pytest.skip("no Chromium with its driver: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install 'medseg[test]'")
    options = webdriver.ChromeOptions()
    profile: Path = tmp_path_factory.mktemp("profile")
    flags = ["headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "force-device-scale-factor=1"]
    flags += ["disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage"]
    for flag in [*flags, f"user-data-dir={profile}", "window-size=1280,1000"]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.binary_location = CHROMIUM
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
