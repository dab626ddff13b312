"""A headless Chromium for the tests that look at pages as a reader does."""

import shutil
from contextlib import contextmanager

import pytest

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_CHROMEDRIVER = shutil.which("chromedriver")
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1280,1600",
)  # fmt: skip

NEEDED = pytest.mark.skipif(
    not (_CHROMIUM and _CHROMEDRIVER),
    reason="needs chromium and chromedriver; on Debian: apt-get install chromium chromium-driver",
)


@contextmanager
def started(profile):
    """Selenium's driver of a Chromium that keeps its settings in the folder `profile`; ended with the block."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = _CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for option in (*_OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=_CHROMEDRIVER))
    try:
        yield driver
    finally:
        driver.quit()
