"""deploy/kubernetes is valid and matches the service. Needs neither cluster nor network."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.bootstrap import bootstrap
from app.cli import cli
from app.entrypoints.server import http_application
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
BASE, EXAMPLE, CITUS = KUBERNETES / "base", KUBERNETES / "overlays" / "example", KUBERNETES / "overlays" / "citus"
FILES = sorted(file for file in KUBERNETES.rglob("*.yaml") if file.name != "kustomization.yaml")
VERSIONS = ["1.30", "1.34"]
AFTER_THE_GRACE = 10
"""Seconds in which a process gives back what it holds: a client of Kafka alone may take 6 of them to stop."""

Json = dict[str, Any]


def documents(*files: Path) -> list[Json]:
    return [document for file in files for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


BASE_DOCUMENTS = documents(*(file for file in FILES if file.parent == BASE))
DEPLOYMENTS = [document for document in BASE_DOCUMENTS if document["kind"] == "Deployment"]
WORKLOADS = [*DEPLOYMENTS, *(document for document in BASE_DOCUMENTS if document["kind"] == "Job")]


def name_of(document: Json) -> str:
    return str(document["metadata"]["name"])


def pod(workload: Json) -> Json:
    spec: Json = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Json) -> Json:
    (only,) = pod(workload)["containers"]
    found: Json = only
    return found


def given_settings(overlay: Path = EXAMPLE) -> dict[str, str]:
    """What the overlay's pods find in their environment."""
    found: dict[str, str] = {}
    files = [BASE / "settings.yaml", EXAMPLE / "settings.yaml", EXAMPLE / "secret.example.yaml"]
    if overlay == CITUS:
        files += [CITUS / "settings.yaml", CITUS / "database.example.yaml"]
    for document in documents(*files):
        if name_of(document) != "allocation-tls":
            found |= document.get("data", {}) | document.get("stringData", {})
    return found


def test_all_parts_of_the_service_are_deployed() -> None:
    expected = {"migrate": "migrate", "api": "serve", "consumer": "consume", "relay": "relay", "notifier": "notify"}
    found = {name_of(each).removeprefix("allocation-"): container(each)["args"][0] for each in WORKLOADS}
    assert found == expected


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(KUBERNETES)))
def test_every_document_matches_the_schema_of_kubernetes(file: Path, version: str) -> None:
    for document in documents(file):
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize(("folder", "below"), [(BASE, None), (EXAMPLE, BASE), (CITUS, EXAMPLE)])
def test_the_kustomization_names_every_file_beside_it(folder: Path, below: Path | None) -> None:
    (kustomization,) = documents(folder / "kustomization.yaml")
    patches = [patch["path"] for patch in kustomization.get("patches", []) if "path" in patch]
    named = {(folder / name).resolve() for name in [*kustomization["resources"], *patches]}
    beside = {file for file in FILES if file.parent == folder}
    assert named == beside | ({below} if below else set())


def built(overlay: Path) -> list[Json]:
    """What Kustomize makes of the overlay. Skips the test without Kustomize."""
    programs = {"kustomize": ["kustomize", "build"], "kubectl": ["kubectl", "kustomize"]}
    command = next((command for program, command in programs.items() if shutil.which(program)), None)
    if command is None:
        pytest.skip("neither kustomize nor kubectl is installed")
    done = subprocess.run([*command, overlay], capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def named(found: list[Json], kind: str, name: str) -> Json:
    (only,) = [each for each in found if each["kind"] == kind and name_of(each) == name]
    return only


@pytest.mark.parametrize("overlay", [EXAMPLE, CITUS], ids=["example", "citus"])
def test_an_overlay_can_be_built(overlay: Path) -> None:
    found = built(overlay)
    for document in found:
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
    images = {container(each)["image"] for each in found if each["kind"] in {"Deployment", "Job"}}
    assert images == {"registry.example.com/allocation:1.0.0rc1"}
    settings = named(found, "ConfigMap", "allocation-settings")["data"]
    assert {"ALLOCATION_LOG_FORMAT", "ALLOCATION_KAFKA_BOOTSTRAP_SERVERS"} <= set(settings)


def test_nodes_and_role_are_set_up_before_the_schemas_are_created() -> None:
    found = built(CITUS)
    migration = pod(named(found, "Job", "allocation-migrate"))
    (setup,) = migration["initContainers"]
    assert setup["command"][-1] == "--file=/etc/citus/setup.sql"
    (script,) = [each["configMap"]["name"] for each in migration["volumes"] if "configMap" in each]
    assert named(found, "ConfigMap", script)["data"] == {"setup.sql": (CITUS / "setup.sql").read_text(encoding="utf-8")}

    nodes = named(found, "StatefulSet", "citus")
    assert container(nodes)["image"] == setup["image"]
    names = [f"citus-{number}.{nodes['spec']['serviceName']}" for number in range(nodes["spec"]["replicas"])]
    assert {f"--set=coordinator={names[0]}", f"--set=workers={','.join(names[1:])}"} <= set(setup["command"])
    secrets = [each["stringData"] for each in found if name_of(each) == "allocation-secrets"]
    assert [each["ALLOCATION_DATABASE_URL"].split("@")[1] for each in secrets] == [f"{names[0]}:5432/allocation"]
    assert [each for each in secrets if "ALLOCATION_READ_DATABASE_URL" in each] == []


@pytest.mark.parametrize("overlay", [EXAMPLE, CITUS], ids=["example", "citus"])
def test_a_partition_has_messages_of_one_cell(overlay: Path) -> None:
    given = given_settings(overlay)
    assert int(given["ALLOCATION_KAFKA_TOPIC_PARTITIONS"]) % int(given.get("ALLOCATION_CELLS", 1)) == 0


@pytest.mark.parametrize("overlay", [EXAMPLE, CITUS], ids=["example", "citus"])
def test_every_variable_is_a_setting_and_together_they_are_valid(overlay: Path) -> None:
    given = given_settings(overlay)
    names = {name: name.removeprefix("ALLOCATION_").lower() for name in given}
    assert {name for name, field in names.items() if field not in Settings.model_fields} == set()
    # Files are in the pods only.
    values = {names[name]: value for name, value in given.items() if not name.endswith("_FILE")}
    Settings.model_validate(values)


def test_every_pod_gets_the_settings_and_the_secrets() -> None:
    for workload in WORKLOADS:
        sources = [next(iter(source.values()))["name"] for source in container(workload)["envFrom"]]
        assert sources == ["allocation-settings", "allocation-secrets"], name_of(workload)
        mounted = {mount["mountPath"] for mount in container(workload)["volumeMounts"]}
        files = [value for name, value in given_settings().items() if name.endswith("_FILE")]
        assert all(str(Path(file).parent) in mounted for file in files), name_of(workload)


@pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
def test_the_command_exists(workload: Json) -> None:
    command, *arguments = container(workload)["args"]
    cli.commands[command].make_context(command, arguments).close()


async def test_probes_use_existing_routes_and_ports() -> None:
    async with bootstrap(Settings(_env_file=None)) as service:
        routes = {getattr(route, "path", "") for route in http_application(service).routes}
    for workload in DEPLOYMENTS:
        only = container(workload)
        arguments = only["args"]
        flag = "--port" if arguments[0] == "serve" else "--metrics-port"
        listens = int(arguments[arguments.index(flag) + 1])
        ports = {port["name"]: port["containerPort"] for port in only["ports"]}
        probes = {kind: only[kind]["httpGet"] for kind in only if kind.endswith("Probe")}
        assert {"startupProbe", "livenessProbe"} <= set(probes), name_of(workload)
        assert {ports[probe["port"]] for probe in probes.values()} == {listens}, name_of(workload)
        assert {probe["path"] for probe in probes.values()} <= routes, name_of(workload)
        # Liveness must not depend on other servers, or their outage would restart every pod.
        assert probes["livenessProbe"]["path"] == "/livez", name_of(workload)
    (api,) = [each for each in DEPLOYMENTS if name_of(each) == "allocation-api"]
    assert container(api)["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
def test_no_container_has_more_rights_than_it_needs(workload: Json) -> None:
    user, group = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[-1]
    security, of_container = pod(workload)["securityContext"], container(workload)["securityContext"]
    assert security["runAsNonRoot"] is True
    assert (security["runAsUser"], security["runAsGroup"]) == (int(user), int(group))
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert of_container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(workload)["automountServiceAccountToken"] is False
    assert set(container(workload)["resources"]) == {"requests", "limits"}
    mounted = {mount["name"] for mount in container(workload)["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod(workload)["volumes"]}


@pytest.mark.parametrize("workload", DEPLOYMENTS, ids=name_of)
def test_a_pod_has_enough_time_to_stop(workload: Json) -> None:
    settings = Settings.model_validate(
        {name: given_settings()[f"ALLOCATION_{name.upper()}"] for name in ("shutdown_delay", "shutdown_grace")}
    )
    needed = settings.shutdown_delay + settings.shutdown_grace + AFTER_THE_GRACE
    assert pod(workload)["terminationGracePeriodSeconds"] >= needed


@pytest.mark.parametrize("workload", DEPLOYMENTS, ids=name_of)
def test_selectors_match_pods(workload: Json) -> None:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    selectors = [workload["spec"]["selector"]["matchLabels"]]
    budgets = [each for each in BASE_DOCUMENTS if each["kind"] == "PodDisruptionBudget"]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in budgets if name_of(each) == name_of(workload)]
    if name_of(workload) == "allocation-api":
        selectors += [each["spec"]["selector"] for each in BASE_DOCUMENTS if each["kind"] == "Service"]
        scaled = [each["spec"]["scaleTargetRef"] for each in BASE_DOCUMENTS if "Autoscaler" in each["kind"]]
        assert scaled == [{"apiVersion": workload["apiVersion"], "kind": "Deployment", "name": name_of(workload)}]
    assert len(selectors) >= 2
    assert all(selector.items() <= labels.items() for selector in selectors)


def test_secrets_are_placeholders() -> None:
    secrets = [each for file in FILES for each in documents(file) if each["kind"] == "Secret"]
    values = [value for each in secrets for value in each["stringData"].values()]
    assert values
    assert [value for value in values if "CHANGE-ME" not in value] == []
    assert not any("data" in each for each in secrets)
    maps = [each["data"] for file in FILES for each in documents(file) if each["kind"] == "ConfigMap"]
    assert [name for each in maps for name in each if re.search("PASSWORD|(DATABASE|SMTP)_URL$", name)] == []
