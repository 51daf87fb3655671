"""schemathesis against the service's own OpenAPI: whatever is sent, no answer lies outside of what is promised."""

import subprocess
import sys
from pathlib import Path

from tests.served import served

TOKEN = "correct-horse-battery"


def test_every_answer_is_as_described(tmp_path):
    command = [Path(sys.executable).with_name("schemathesis"), "run", "--max-examples", "30", "--seed", "1"]
    # A schema cannot say that bytes must be an image, so that bytes of its liking are rightly refused.
    command += ["--exclude-checks", "positive_data_acceptance"]
    command += ["--generation-deterministic", "--header", f"Authorization: Bearer {TOKEN}", "--no-color"]
    with served(FOCUS_PICKER_TOKEN=TOKEN) as address:
        done = subprocess.run(
            [*command, f"{address}/openapi.json"], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 selected / 8 total" in done.stdout
