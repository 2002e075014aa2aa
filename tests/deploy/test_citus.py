"""The profile `citus` of the Compose file and the overlay `citus` of the manifests agree."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


def test_compose_file_and_manifests_run_the_same_citus(compose: dict[str, Any]) -> None:
    images = {service["image"] for service in compose["services"].values() if "citus" in service["image"]}
    folder = ROOT / "deploy/kubernetes/overlays/citus"
    text = "".join(file.read_text(encoding="utf-8") for file in folder.glob("*.yaml"))
    assert set(re.findall(r"image: (citus\S+)", text)) == images
    assert len(images) == 1


def test_compose_file_adds_every_node_of_citus(compose: dict[str, Any]) -> None:
    services = compose["services"]
    nodes = {name for name, service in services.items() if service.get("profiles") == ["citus"]} - {"citus-setup"}
    setup = services["citus-setup"]
    (workers,) = [each.removeprefix("--set=workers=") for each in setup["command"] if "workers" in each]
    assert {"citus", *workers.split(",")} == nodes == set(setup["depends_on"])
    (script, *_) = setup["volumes"][0].split(":")
    assert (ROOT / script).is_file()
    assert services["migrate"]["depends_on"]["citus-setup"]["condition"] == "service_completed_successfully"
    profiled = {name for name, service in services.items() if "profiles" in service}
    needed = {
        name
        for service in services.values()
        if "profiles" not in service
        for name, how in service.get("depends_on", {}).items()
        if how.get("required", True)
    }
    assert needed & profiled == set()
