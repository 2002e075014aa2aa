"""A cluster of three Kafka nodes: each partition has a replica on each of them, and a write needs two."""

import shutil
from pathlib import Path

from confluent_kafka.admin import PartitionMetadata  # type: ignore[attr-defined] # missing in its stubs

from app.embedded.process import LOOPBACK, free_port
from faults.topics import admin_of
from tests.support.apache_kafka import ApacheKafka, random_id

NODES = (1, 2, 3)
SECONDS = 30.0

# Every node is a broker and a controller. Topics are replicated to all, Kafka's own included. A node that is back leads
# its partitions again within a second; by default it would be five minutes.
CONFIGURATION = """\
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{{host}}:{{port}},CONTROLLER://{{host}}:{controller}
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
leader.imbalance.check.interval.seconds=1
leader.imbalance.per.broker.percentage=0
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
replica.lag.time.max.ms=3000
group.min.session.timeout.ms=1000
"""


class Cluster:
    """Three nodes on ports that do not change. Start them from the main thread, as with `ApacheKafka`."""

    def __init__(self, directory: Path) -> None:
        """Describe the nodes, whose data and logs are in `directory`."""
        controllers = {node: free_port() for node in NODES}
        voters = ",".join(f"{node}@{LOOPBACK}:{port}" for node, port in controllers.items())
        self.nodes = {
            node: ApacheKafka(
                data_dir=directory / f"node-{node}",
                port=free_port(),
                configuration=CONFIGURATION.format(node=node, voters=voters, controller=controllers[node]),
                heap="256m",
            )
            for node in NODES
        }

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of all nodes."""
        return ",".join(node.bootstrap_servers for node in self.nodes.values())

    def start(self) -> None:
        """Start the nodes that do not run, and return when each takes requests."""
        if not self.nodes[NODES[0]].data_dir.exists():
            self._format()
        stopped = [node for node in self.nodes.values() if node.pid is None]
        for node in stopped:
            node.launch()
        for node in stopped:
            node.wait_until_ready()

    def kill(self, *numbers: int) -> None:
        """Kill these nodes. `start` restarts them with their data."""
        for number in numbers:
            self.nodes[number].kill()

    def is_balanced(self) -> bool:
        """Whether every replica has caught up, and each partition has its preferred leader."""
        return all(len(each.isrs) == len(NODES) and each.leader == each.replicas[0] for each in self._partitions())

    def led_by(self, number: int) -> int:
        """The number of partitions that this node leads."""
        return sum(each.leader == number for each in self._partitions())

    def stop(self) -> None:
        """Kill all nodes: they need each other to stop in order, and their data is not needed any more."""
        self.kill(*self.nodes)

    def _partitions(self) -> list[PartitionMetadata]:
        admin = admin_of(self.bootstrap_servers)
        topics = admin.list_topics(timeout=SECONDS).topics.values()
        return [partition for topic in topics for partition in topic.partitions.values()]

    def _format(self) -> None:
        """Format the first node, and give the others copies of its directory: the tool takes seconds for each."""
        first = self.nodes[NODES[0]]
        first.format(first.port)
        for number in NODES[1:]:
            node = self.nodes[number]
            shutil.copytree(first.logs, node.logs)
            file = node.logs / "meta.properties"
            own = {"node.id": str(number), "directory.id": random_id()}
            pairs = [line.partition("=") for line in file.read_text().splitlines() if not line.startswith("#")]
            file.write_text("".join(f"{name}={own.get(name, value)}\n" for name, _, value in pairs))
