"""cluster.yaml against Ray's own checks, and against rules those checks do not know.

Ray looks neither into node_config nor into a shell command. The rules here do, and they look at
the prepared config: a key left out of the file is one of Ray's defaults there, some of them open
to the world. Every rule is shown to fail on planted faults.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

Config = dict[str, Any]
Rule = Callable[[Config], None]

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
COMMANDS = (
    "initialization_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)


def load() -> Config:
    """A fresh copy of the file's content, since the faults below change it."""
    loaded: Config = yaml.safe_load(TEXT)
    return loaded


def prepared(config: Config) -> Config:
    """What `ray up` works with: the file over Ray's defaults for the provider."""
    result: Config = prepare_config(config)
    return result


def head(config: Config) -> Config:
    found: Config = config["available_node_types"][config["head_node_type"]]
    return found


def workers(config: Config) -> list[Config]:
    types: Config = config["available_node_types"]
    return [node for name, node in types.items() if name != config["head_node_type"]]


def node_configs(config: Config) -> list[Config]:
    return [node["node_config"] for node in [head(config), *workers(config)]]


def starts(config: Config, kind: str) -> list[str]:
    """The commands that start Ray on a `head` or a `worker`; there must be one."""
    found = [line for line in config[f"{kind}_start_ray_commands"] if "ray start" in line]
    assert len(found) == 1, f"{kind}: {found}"
    return found


def strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(key)
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def nothing_open_to_the_world(config: Config) -> None:
    for text in strings(config):
        assert "0.0.0.0" not in text, text
        assert "::/0" not in text, text


def own_security_groups(config: Config) -> None:
    for node in node_configs(config):
        groups = node.get("SecurityGroupIds")
        assert groups, node
        assert all(group.startswith("sg-") for group in groups), node
        # Ray takes the groups of an interface instead, where there is one.
        assert "NetworkInterfaces" not in node, node
    # It only adds rules to the open group that Ray makes itself.
    assert "security_group" not in config["provider"]


def dashboard_on_loopback(config: Config) -> None:
    for line in starts(config, "head"):
        assert re.findall(r"--dashboard-host[= ](\S+)", line) == ["127.0.0.1"], line


def token_everywhere(config: Config) -> None:
    for kind in ("head", "worker"):
        for line in starts(config, kind):
            before = line.partition("ray start")[0]
            assert re.search(r"\bexport .*\bRAY_AUTH_MODE=token\b", before), line
        setup = "\n".join(config[f"{kind}_setup_commands"])
        assert "RAY_AUTH_MODE=token" in setup, f"{kind}: shells of `ray exec`"
    # The head reads the same remote path when it sets a worker up, so both sides are the default.
    assert config["file_mounts"].get("~/.ray/auth_token") == "~/.ray/auth_token"
    for text in strings(config):
        assert "RAY_AUTH_TOKEN=" not in text, "a token in the file would end up in git"


def no_gpu_on_the_head(config: Config) -> None:
    node = head(config)
    assert not re.match(r"[pg]\d", node["node_config"]["InstanceType"])
    assert node["resources"]["GPU"] == 0
    assert node["resources"]["CPU"] >= 1, "somewhere for the lanes' coordination to run"
    assert node["max_workers"] == 0, "no second node of the head's type"
    for line in starts(config, "head"):
        assert re.findall(r"--num-gpus[= ](\S+)", line) == ["0"], line
        # The resources above win over --num-cpus without a word: keep them equal.
        assert re.findall(r"--num-cpus[= ](\S+)", line) == [str(node["resources"]["CPU"])], line


def spot_on_workers_only(config: Config) -> None:
    assert "InstanceMarketOptions" not in head(config)["node_config"]
    assert workers(config)
    for node in workers(config):
        market = node["node_config"].get("InstanceMarketOptions", {})
        assert market.get("MarketType") == "spot", node


def one_lane_fits_every_worker(config: Config) -> None:
    """Two types at least, for want of spot machines of one; the first is what is preferred."""
    first, *others = workers(config)
    assert others
    for node in others:
        assert node["resources"]["GPU"] == first["resources"]["GPU"]
        assert node["resources"]["CPU"] > first["resources"]["CPU"], "the autoscaler cannot choose"
        family = first["node_config"]["InstanceType"].partition(".")[0]
        assert node["node_config"]["InstanceType"].startswith(f"{family}."), "another GPU"


def price_has_a_ceiling(config: Config) -> None:
    for node in workers(config):
        options = node["node_config"]["InstanceMarketOptions"]["SpotOptions"]
        assert 0 < float(options["MaxPrice"]) <= 5
        assert isinstance(options["MaxPrice"], str), "AWS takes text"


def head_may_do_no_more_than_it_needs(config: Config) -> None:
    assert head(config)["node_config"].get("IamInstanceProfile") == {"Name": "isogloss-head"}
    for node in workers(config):
        assert "IamInstanceProfile" not in node["node_config"]
    policy = json.loads((ROOT / "docs" / "aws-head-policy.json").read_text(encoding="utf-8"))
    for statement in policy["Statement"]:
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            assert "*" not in action, action
            looks = action.startswith("ec2:Describe")
            assert looks or statement["Resource"] != "*", action
        if statement["Sid"] == "StartWorkersOfTheseTypes":
            allowed = statement["Condition"]["StringEquals"]
            kinds = {node["node_config"]["InstanceType"] for node in workers(config)}
            assert kinds == set(allowed["ec2:InstanceType"])
            assert allowed["aws:RequestTag/ray-cluster-name"] == config["cluster_name"]


def driver_is_checked(config: Config) -> None:
    line = next(line for line in config["worker_setup_commands"] if "nvidia-smi" in line)
    for driver, passes in (("580.65.06", True), ("600.1", True), ("575.57", False), ("", False)):
        fake = f'nvidia-smi() {{ [ -n "{driver}" ] && printf "{driver}\\n{driver}\\n"; }}; '
        done = subprocess.run(["bash", "-c", fake + line], capture_output=True, text=True)
        assert (done.returncode == 0) == passes, (driver, done)
        assert passes or "must be 580 or newer" in done.stderr


def jobs_may_end_in_order(config: Config) -> None:
    (line,) = starts(config, "head")
    (seconds,) = re.findall(r"\bexport .*\bRAY_JOB_STOP_WAIT_TIME_S=(\d+)", line)
    assert int(seconds) >= 120


def workers_come_and_go(config: Config) -> None:
    for node in workers(config):
        assert node["min_workers"] == 0
        assert 1 <= node["max_workers"] <= config["max_workers"] <= 16
        assert re.match(r"[pg]\d", node["node_config"]["InstanceType"])
        assert node["resources"]["GPU"] == 1
    assert 0 < config["idle_timeout_minutes"] <= 60
    assert config["provider"]["cache_stopped_nodes"] is False


def nodes_are_hardened_and_large_enough(config: Config) -> None:
    for node in node_configs(config):
        assert node.get("MetadataOptions", {}).get("HttpTokens") == "required", node
        # Ray's default image is Ubuntu 18.04, whose glibc is too old for current wheels.
        assert node.get("ImageId", "").startswith("ami-"), node
        sizes = [disk["Ebs"]["VolumeSize"] for disk in node.get("BlockDeviceMappings", [])]
        assert min(sizes, default=0) >= 100, node
        for disk in node["BlockDeviceMappings"]:
            assert disk["Ebs"].get("Encrypted") is True, node


def no_path_of_one_machine(config: Config) -> None:
    for remote, local in config["file_mounts"].items():
        assert remote.startswith("~/"), remote
        assert local.startswith("~/.ray/") or not local.startswith(("/", "~", "..")), local
    for text in strings(config):
        assert not re.search(r"/(home|Users|root|work|mnt)\b", text), text


def install_uses_the_constraints(config: Config) -> None:
    for kind in ("head", "worker"):
        lines = [line for line in config[f"{kind}_setup_commands"] if "pip install" in line]
        assert any(line.endswith("-e .") for line in lines), f"{kind}: {lines}"
        for line in lines:
            assert "pip install -c constraints.txt " in line, line
    assert config["file_mounts"].get("~/isogloss/constraints.txt") == "constraints.txt"
    assert any("boto3" in line for line in config["head_setup_commands"])


def runs_can_be_fetched(config: Config) -> None:
    assert {".git", ".venv"} <= set(config["rsync_exclude"])
    # `ray rsync-down` applies the same patterns, and Ray hashes a mounted folder whole.
    assert "runs" not in {pattern.strip("/*") for pattern in config["rsync_exclude"]}
    mounted = {Path(local) for local in config["file_mounts"].values()}
    assert mounted.isdisjoint({Path("."), Path("runs"), Path(".venv")})


RULES: tuple[Rule, ...] = (
    nothing_open_to_the_world,
    own_security_groups,
    dashboard_on_loopback,
    token_everywhere,
    no_gpu_on_the_head,
    spot_on_workers_only,
    workers_come_and_go,
    one_lane_fits_every_worker,
    price_has_a_ceiling,
    head_may_do_no_more_than_it_needs,
    driver_is_checked,
    jobs_may_end_in_order,
    nodes_are_hardened_and_large_enough,
    no_path_of_one_machine,
    install_uses_the_constraints,
    runs_can_be_fetched,
)

DELETE = object()
HEAD = "available_node_types.head"
WORKER = "available_node_types.gpu_worker"
FALLBACK = "available_node_types.gpu_worker_fallback"
SPOT = {"MarketType": "spot"}


def put(config: Config, path: str, value: object) -> None:
    """Set, or with DELETE remove, the value at a dotted path. ("file_mounts:x" keeps x whole.)"""
    parents, colon, last = path.partition(":")
    if not colon:
        parents, _, last = path.rpartition(".")
    target = config
    for key in parents.split(".") if parents else []:
        target = target[key]
    if value is DELETE:
        del target[last]
    else:
        target[last] = value


def swap(config: Config, key: str, old: str, new: str) -> None:
    """Replace text in a list of commands; a fault that changes nothing would prove nothing."""
    changed = [line.replace(old, new) for line in config[key]]
    assert changed != config[key], f"{old!r} is not in {key}"
    config[key] = changed


Fault = tuple[Rule, str, object] | tuple[Rule, str, str, str]

FAULTS: tuple[Fault, ...] = (
    (nothing_open_to_the_world, "head_start_ray_commands", DELETE),
    (nothing_open_to_the_world, "head_start_ray_commands", "127.0.0.1", "0.0.0.0"),
    (nothing_open_to_the_world, "provider.security_group", {"CidrIp": "0.0.0.0/0"}),
    (own_security_groups, f"{HEAD}.node_config.SecurityGroupIds", DELETE),
    (own_security_groups, f"{WORKER}.node_config.SecurityGroupIds", DELETE),
    (own_security_groups, f"{WORKER}.node_config.SecurityGroupIds", []),
    (own_security_groups, f"{WORKER}.node_config.NetworkInterfaces", [{"Groups": ["sg-1"]}]),
    (own_security_groups, "provider.security_group", {"GroupName": "isogloss"}),
    (dashboard_on_loopback, "head_start_ray_commands", DELETE),
    (dashboard_on_loopback, "head_start_ray_commands", " --dashboard-host=127.0.0.1", ""),
    (dashboard_on_loopback, "head_start_ray_commands", "=127.0.0.1", "=10.0.0.4"),
    (token_everywhere, "head_start_ray_commands", DELETE),
    (token_everywhere, "worker_start_ray_commands", DELETE),
    (token_everywhere, "head_start_ray_commands", "RAY_AUTH_MODE=token", ""),
    (token_everywhere, "worker_start_ray_commands", "RAY_AUTH_MODE=token", ""),
    (token_everywhere, "worker_start_ray_commands", "=token", "=disabled"),
    (token_everywhere, "worker_start_ray_commands", "export ", ""),
    (token_everywhere, "setup_commands", "RAY_AUTH_MODE=token", ""),
    (token_everywhere, "setup_commands", "=token", "=token RAY_AUTH_TOKEN=00ff"),
    (token_everywhere, "file_mounts:~/.ray/auth_token", DELETE),
    (no_gpu_on_the_head, f"{HEAD}.node_config.InstanceType", "g6e.2xlarge"),
    (no_gpu_on_the_head, f"{HEAD}.resources.GPU", 1),
    (no_gpu_on_the_head, f"{HEAD}.resources.CPU", 8),
    (no_gpu_on_the_head, f"{HEAD}.max_workers", 1),
    (no_gpu_on_the_head, "head_start_ray_commands", "--num-gpus=0", ""),
    (no_gpu_on_the_head, "head_start_ray_commands", "--num-gpus=0", "--num-gpus=1"),
    (spot_on_workers_only, f"{HEAD}.node_config.InstanceMarketOptions", SPOT),
    (spot_on_workers_only, f"{WORKER}.node_config.InstanceMarketOptions", DELETE),
    (spot_on_workers_only, f"{FALLBACK}.node_config.InstanceMarketOptions", DELETE),
    (workers_come_and_go, f"{WORKER}.min_workers", 1),
    (workers_come_and_go, f"{WORKER}.max_workers", 5),
    (workers_come_and_go, "max_workers", 400),
    (workers_come_and_go, f"{WORKER}.node_config.InstanceType", "m7i.2xlarge"),
    (workers_come_and_go, f"{WORKER}.resources.GPU", 8),
    (workers_come_and_go, "idle_timeout_minutes", 600),
    (workers_come_and_go, "provider.cache_stopped_nodes", True),
    (one_lane_fits_every_worker, FALLBACK, DELETE),
    (one_lane_fits_every_worker, f"{FALLBACK}.resources.CPU", 8),
    (one_lane_fits_every_worker, f"{FALLBACK}.resources.GPU", 4),
    (one_lane_fits_every_worker, f"{FALLBACK}.node_config.InstanceType", "g5.4xlarge"),
    (
        price_has_a_ceiling,
        f"{WORKER}.node_config.InstanceMarketOptions.SpotOptions",
        {"MaxPrice": "40"},
    ),
    (head_may_do_no_more_than_it_needs, f"{HEAD}.node_config.IamInstanceProfile", DELETE),
    (
        head_may_do_no_more_than_it_needs,
        f"{WORKER}.node_config.IamInstanceProfile",
        {"Name": "isogloss-head"},
    ),
    (head_may_do_no_more_than_it_needs, f"{FALLBACK}.node_config.InstanceType", "g6e.8xlarge"),
    (head_may_do_no_more_than_it_needs, "cluster_name", "other"),
    (driver_is_checked, "worker_setup_commands", "580 ||", "480 ||"),
    (jobs_may_end_in_order, "head_start_ray_commands", "=300", "=3"),
    (
        nodes_are_hardened_and_large_enough,
        f"{WORKER}.node_config.BlockDeviceMappings",
        [{"Ebs": {"VolumeSize": 300}}],
    ),
    (nodes_are_hardened_and_large_enough, f"{HEAD}.node_config.MetadataOptions", DELETE),
    (nodes_are_hardened_and_large_enough, f"{WORKER}.node_config.ImageId", DELETE),
    (nodes_are_hardened_and_large_enough, f"{WORKER}.node_config.BlockDeviceMappings", DELETE),
    (no_path_of_one_machine, "file_mounts:~/isogloss/search", "/srv/isogloss/search"),
    (no_path_of_one_machine, "file_mounts:~/isogloss/search", "~/code/isogloss/search"),
    (no_path_of_one_machine, "file_mounts:~/isogloss/search", "../isogloss/search"),
    (no_path_of_one_machine, "file_mounts:/opt/isogloss", "search"),
    (no_path_of_one_machine, "auth.ssh_private_key", "/home/me/.ssh/id_ed25519"),
    (install_uses_the_constraints, "setup_commands", "-c constraints.txt ", ""),
    (install_uses_the_constraints, "setup_commands", "-e .", "isogloss"),
    (install_uses_the_constraints, "head_setup_commands", "-c constraints.txt ", ""),
    (install_uses_the_constraints, "head_setup_commands", []),
    (install_uses_the_constraints, "file_mounts:~/isogloss/constraints.txt", DELETE),
    (runs_can_be_fetched, "rsync_exclude", [".git", ".venv", "runs/"]),
    (runs_can_be_fetched, "rsync_exclude", DELETE),
    (runs_can_be_fetched, "file_mounts:~/isogloss", "."),
)


def test_ray_accepts_the_file() -> None:
    validate_config(prepared(load()))


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("cluster_nam", "isogloss", "Additional properties"),
        ("head_node_type", "boss", "head_node_type"),
        (f"{WORKER}.min_workers", 9, "max_workers"),
        ("idle_timeout_minutes", "soon", "number"),
    ],
)
def test_ray_refuses_a_broken_file(path: str, value: object, complaint: str) -> None:
    config = load()
    put(config, path, value)
    with pytest.raises(Exception, match=complaint):
        validate_config(prepared(config))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_file_keeps_the_rule(rule: Rule) -> None:
    rule(prepared(load()))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault[0].__name__}-{fault[1]}")
def test_the_rule_catches_a_planted_fault(fault: Fault) -> None:
    config = load()
    if len(fault) == 4:
        swap(config, fault[1], fault[2], fault[3])
    else:
        put(config, fault[1], fault[2])
    with pytest.raises(AssertionError):
        fault[0](prepared(config))


def test_every_rule_has_a_planted_fault() -> None:
    assert {fault[0] for fault in FAULTS} == set(RULES)


def test_comments_advise_nothing_open_either() -> None:
    nothing_open_to_the_world({"text": TEXT})


def test_everything_mounted_exists() -> None:
    # `ray up` notices a missing path only after it has started, and billed, the head.
    for local in load()["file_mounts"].values():
        assert local.startswith("~") or (ROOT / local).exists(), local


def test_constraints_leave_the_gpu_build_to_the_nodes() -> None:
    # A local version such as 2.13.0+cpu is not on PyPI, or would put a CPU build beside a GPU.
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert not re.findall(r"^[^#\n]*==[^\s;]*\+\S*", pins, flags=re.MULTILINE)


def test_commands_are_valid_shell() -> None:
    config = prepared(load())
    for line in [line for key in COMMANDS for line in config[key]]:
        # As Ray runs it: in a subshell's parentheses, where a trailing comment would swallow one.
        done = subprocess.run(["bash", "-n", "-c", f"({line})"], capture_output=True, text=True)
        assert done.returncode == 0, f"{line}: {done.stderr}"


def test_shells_on_a_node_get_the_environment(tmp_path: Path) -> None:
    """The lines that write it, run on an empty home, and again as a second `ray up` does."""
    lines = [line for line in load()["setup_commands"] if "isogloss_env" in line]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    for line in lines * 2:
        subprocess.run(["bash", "-c", line], env=environment, check=True)
    assert (tmp_path / ".bashrc").read_text().count("isogloss_env") == 1
    show = ". ~/.bashrc; echo $RAY_AUTH_MODE $PATH"
    shell = ["bash", "-c", show]
    done = subprocess.run(shell, env=environment, check=True, capture_output=True, text=True)
    path = f"{tmp_path}/isogloss-env/bin:{tmp_path}/.local/bin:/usr/bin:/bin"
    assert done.stdout.split() == ["token", path]
