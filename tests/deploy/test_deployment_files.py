"""Checks the deployment files against their schemas and the code, offline; no other test reads them."""

import importlib.resources
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["build", "runtime", "dev", "lowest"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))
    return loaded


@pytest.fixture(scope="module")
def our_services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Those that run our own image."""
    return {name: service for name, service in compose["services"].items() if "build" in service}


def test_compose_file_follows_the_specification(compose: dict[str, Any]) -> None:
    vendored = importlib.resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    schema = json.loads(vendored.read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(schema)(schema).validate(compose)


def test_compose_file_sets_only_settings_that_the_example_explains(our_services: dict[str, dict[str, Any]]) -> None:
    used = {name for service in our_services.values() for name in service["environment"]}
    explained = set(re.findall(r"^#?\s*(ALLOCATION_[A-Z0-9_]+)=", read(".env.example"), re.MULTILINE))
    assert used - explained == set()


def test_image_and_compose_file_run_commands_that_exist(our_services: dict[str, dict[str, Any]]) -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "app", "--help"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    ).stdout
    offered = set(re.findall(r"^  ([a-z][a-z-]*)\b", help_text, re.MULTILINE))
    used = {service["command"][0] for service in our_services.values()}
    used |= {service["healthcheck"]["test"][2] for service in our_services.values() if asks_allocation(service)}
    used |= set(re.findall(r'^CMD \["([a-z-]+)"', read("Dockerfile"), re.MULTILINE))
    assert used - offered == set()


def asks_allocation(service: dict[str, Any]) -> bool:
    """Whether the health check is one of our own commands."""
    return bool(service["healthcheck"].get("test", [])[:2] == ["CMD", "allocation"])


def test_every_service_that_stays_up_has_a_health_check(compose: dict[str, Any]) -> None:
    staying = {name: service for name, service in compose["services"].items() if service["restart"] != "no"}
    assert {"api", "consumer", "relay", "notifier", "postgres", "kafka"} <= set(staying)
    assert [name for name, service in staying.items() if not service.get("healthcheck", {}).get("test")] == []


def test_our_services_have_no_more_rights_than_they_need(our_services: dict[str, dict[str, Any]]) -> None:
    assert set(our_services) == {"api", "api-keys", "consumer", "relay", "notifier", "migrate"}
    for name, service in our_services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name


def defaults(value: str) -> str:
    """The value where none of its variables is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))


def test_our_services_have_limits_and_enough_time_to_stop(our_services: dict[str, dict[str, Any]]) -> None:
    for name, service in our_services.items():
        assert {"memory", "pids"} <= set(service["deploy"]["resources"]["limits"]), name
        given = {
            key.removeprefix("ALLOCATION_").lower(): defaults(value) for key, value in service["environment"].items()
        }
        settings = Settings.model_validate({name: value for name, value in given.items() if value})
        # A client of Kafka alone may take 6 seconds to stop.
        needed = settings.shutdown_delay + settings.shutdown_grace + 10
        assert int(service["stop_grace_period"].removesuffix("s")) >= needed, name


def test_every_part_can_have_several_instances(our_services: dict[str, dict[str, Any]]) -> None:
    assert [name for name, service in our_services.items() if "container_name" in service] == []
    # A port of its own for each needs a range, so the first half of it has to be a variable.
    ports = {name: service["ports"] for name, service in our_services.items() if "ports" in service}
    assert ports == {"api": ["127.0.0.1:${API_PORT:-8000}:8000"]}


def test_published_ports_are_not_reachable_from_other_machines(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_dependencies_of_services_exist_and_can_become_ready(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in services[needed]["healthcheck"], (name, needed)
            if how["condition"] == "service_completed_successfully":
                assert services[needed]["restart"] == "no", (name, needed)


def test_compose_file_runs_the_kafka_that_the_tests_run_against(compose: dict[str, Any]) -> None:
    tested = re.findall(r"<kafka\.version>(.+)</kafka\.version>", read("tests/apache_kafka/pom.xml"))
    assert [compose["services"]["kafka"]["image"]] == [f"apache/kafka:{version}" for version in tested]


def test_image_passes_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    outcome = subprocess.run(
        [hadolint, "Dockerfile"], cwd=ROOT, check=False, capture_output=True, text=True, timeout=60
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_image_has_labels_for_licence_version_and_source() -> None:
    last_stage = re.split(r"^FROM ", read("Dockerfile"), flags=re.MULTILINE)[-1]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]+)"', last_stage))
    assert {"licenses", "version", "revision", "source"} <= set(labels)
    assert labels["licenses"] == tomllib.loads(read("pyproject.toml"))["project"]["license"]
    for label in ("version", "revision", "source"):
        assert re.search(rf"^ARG {label.upper()}=", last_stage, re.MULTILINE), label


def test_image_does_not_run_as_root() -> None:
    last_stage = re.split(r"^FROM ", read("Dockerfile"), flags=re.MULTILINE)[-1]
    user = re.findall(r"^USER (\d+)(?::\d+)?$", last_stage, re.MULTILINE)
    assert user, "the last stage names no numeric user"
    assert int(user[-1]) > 0


def locked(lock: str) -> dict[str, Requirement]:
    """The requirements of a lock file by name, without their hashes."""
    lines = [line for line in read(f"requirements/{lock}.txt").splitlines() if line and not line.startswith((" ", "#"))]
    requirements = [Requirement(line.removesuffix("\\").strip()) for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def declared(lock: str) -> list[Requirement]:
    """What pyproject.toml asks for in the environment that a lock file describes."""
    project = tomllib.loads(read("pyproject.toml"))
    groups = project["dependency-groups"]
    runtime = project["project"]["dependencies"]
    development = [item for item in groups["dev"] if isinstance(item, str)]
    embedded = project["project"]["optional-dependencies"]["embedded"]
    texts: list[str] = {
        "build": groups["build"],
        "runtime": runtime,
        "dev": [*runtime, *embedded, *groups["build"], *development],
        "lowest": [*runtime, *embedded],
    }[lock]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("lock", LOCKS)
def test_locked_requirements_name_no_index(lock: str) -> None:
    lines = [line for line in read(f"requirements/{lock}.txt").splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in lines if "://" in line or " @ " in line] == []
    # No option of pip but the hashes: no index, no find-links, no other file.
    assert [line for line in lines if line.lstrip().startswith("-") and not line.startswith("    --hash=sha256:")] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_is_exact_and_has_a_hash(lock: str) -> None:
    blocks = re.split(r"^(?=[A-Za-z0-9])", read(f"requirements/{lock}.txt"), flags=re.MULTILINE)[1:]
    assert blocks
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert [
        name for name, requirement in locked(lock).items() if not re.fullmatch(r"==[^*,]+", str(requirement.specifier))
    ] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_matches_the_declared_requirements(lock: str) -> None:
    """A cheap stand-in for locking again: what is declared is locked, and what is no longer declared is not."""
    pins = locked(lock)
    stale = []
    for requirement in declared(lock):
        pin = pins.get(canonicalize_name(requirement.name))
        version = str(pin.specifier).removeprefix("==") if pin else ""
        if not pin or not requirement.specifier.contains(version, prereleases=True):
            stale.append(f"{requirement} is locked as {pin}")
    assert stale == [], "run `make lock`"

    owners = re.findall(
        r"^([\w.-]+)==(?:.*\n)(?:    (?:--hash|#).*\n)*?    #(?: via)? +allocation \(",
        read(f"requirements/{lock}.txt"),
        re.MULTILINE,
    )
    assert {canonicalize_name(name) for name in owners} == {canonicalize_name(item.name) for item in declared(lock)}, (
        "run `make lock`"
    )


def test_lowest_versions_match_the_declared_bounds() -> None:
    pins = {name: str(pin.specifier).removeprefix("==") for name, pin in locked("lowest").items()}
    bounds = [
        (item.name, bound.version) for item in declared("lowest") for bound in item.specifier if ">" in str(bound)
    ]
    raised = [(name, bound) for name, bound in bounds if Version(pins[canonicalize_name(name)]) != Version(bound)]
    assert raised == []


@pytest.mark.parametrize("lock", ["build", "runtime"])
def test_development_uses_the_shipped_versions(lock: str) -> None:
    development = locked("dev")
    assert [pin for name, pin in locked(lock).items() if pin.specifier != development[name].specifier] == []


def test_no_file_contains_addresses_or_paths_of_a_machine() -> None:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=False, capture_output=True, text=True, timeout=60
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    addresses = re.compile(rb"https?://[^\s/]+/(?:\S+/)?simple\b|files\.python" + rb"hosted\.org")
    found = []
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        content = path.read_bytes()
        if addresses.search(content) or (is_distinctive(ROOT) and os.fsencode(ROOT) in content):
            found.append(name)
    assert found == []


def is_distinctive(folder: Path) -> bool:
    """Whether the path cannot occur by chance: many files contain `/app` or `/srv/allocation`."""
    return len(folder.parts) > 2 and folder != Path("/srv/allocation")


def test_makefile_has_every_target_that_the_documents_name() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert {"install", "run", "test", "test-kafka", "lint", "bench"} <= targets
    # In text a command is in backquotes; in an example it has its own line.
    command = re.compile(r"(?:`|^\s*(?:\$ )?(?=make [a-z-]+\s*(?:#.*)?$))make ([a-z-]+)", re.MULTILINE)
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    named = {(path.name, target) for path in documents for target in command.findall(path.read_text(encoding="utf-8"))}
    assert {(document, target) for document, target in named if target not in targets} == set()


@pytest.mark.parametrize(
    "script",
    [".ci/run", ".ci/nightly", "requirements/install", "requirements/install-lowest", "requirements/vendor-swagger-ui"],
)
def test_scripts_can_be_run(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


def test_vendored_files_have_their_version_and_licence() -> None:
    folder = "app/entrypoints/http/static/swagger-ui"
    version = read(f"{folder}/VERSION").strip()
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert f'"{version}"' in read(f"{folder}/swagger-ui-bundle.js")
    assert "Apache License" in read(f"{folder}/LICENSE")
