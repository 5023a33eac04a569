"""A JobSet on TPU slices of Google Kubernetes Engine, one pod a host, as xpk makes them.

The cluster has JobSet installed and node pools of the topology; the image holds mmjax[tpu,cloud]. --dry-run prints the
manifest, ready for `kubectl apply -f -`.

example:
  mmjax launch gke --name scenes --image IMAGE --topology v5e:16x16 --slices 2 --restarts 10 --dry-run -- \\
      train --config configs/quickstart.py --workdir gs://BUCKET/runs/scenes
"""

import argparse
import re
import subprocess
from typing import Any

from mmjax.errors import RunError, UserError
from mmjax.launch import command
from mmjax.launch.topology import Slice, parse

CONTAINER = "mmjax"
WRONG_USE = 2
PORTS = (8471, 8080)  # of TPU workers among each other; of the coordinator of several slices
LONGEST = 40  # characters of a name: that of a pod adds the job's, two numbers and a random part, and has at most 63


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `mmjax launch gke` takes."""
    parser.add_argument("--name", required=True, help="of the JobSet: small letters, digits and hyphens")
    parser.add_argument("--image", required=True, help="container image with mmjax in it")
    parser.add_argument("--topology", required=True, metavar="KIND:SHAPE", help="of a slice: v5e:16x16, v5p:4x4x8, ...")
    parser.add_argument("--slices", type=int, default=1, metavar="N", help="slices that train together (default: 1)")
    parser.add_argument("--namespace", default="default", help="default: default")
    parser.add_argument("--service-account", metavar="NAME", help="of Kubernetes, that may write to the bucket")
    parser.add_argument("--queue", metavar="NAME", help="LocalQueue of Kueue")
    parser.add_argument("--priority", metavar="NAME", help="priority class")
    parser.add_argument("--spot", action="store_true", help="take spot nodes")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="variable; repeatable")
    parser.add_argument(
        "--restarts", type=int, default=10, metavar="N", help="of the whole JobSet, preemptions included (default: 10)"
    )
    parser.add_argument(
        "--grace", type=int, default=120, metavar="SECONDS", help="to save in when a pod must go (default: 120)"
    )


def start(args: argparse.Namespace) -> int:
    """Applies the manifest, or prints it. Returns 0."""
    import yaml

    text = yaml.safe_dump(manifest(args), sort_keys=False)
    if args.dry_run:
        print(text, end="")
        return 0
    try:
        done = subprocess.run(["kubectl", "apply", "-f", "-"], input=text, text=True)
    except FileNotFoundError:
        raise UserError("kubectl: no such command here; install it, or take --dry-run") from None
    if done.returncode:
        raise RunError(f"kubectl refused the manifest (exit code {done.returncode}); its reason stands above")
    logs = f"kubectl logs --namespace {args.namespace} --selector jobset.sigs.k8s.io/jobset-name={args.name}"
    print(f"its logs: {logs} --follow --prefix --max-log-requests {args.slices * parse(args.topology).hosts}")
    return 0


def manifest(args: argparse.Namespace) -> dict[str, Any]:
    """The JobSet.

    Raises:
      UserError: a name that Kubernetes does not take, an impossible number or topology.
    """
    command.check(args.command)
    tpu = parse(args.topology)
    if not re.fullmatch(rf"[a-z]([a-z0-9-]{{0,{LONGEST - 2}}}[a-z0-9])?", args.name):
        raise UserError(f"--name {args.name}: at most {LONGEST} small letters, digits and hyphens, a letter first")
    for name, least in (("slices", 1), ("restarts", 0), ("grace", 0)):
        if getattr(args, name) < least:
            raise UserError(f"--{name} must be at least {least}, got {getattr(args, name)}")
    labels = {"kueue.x-k8s.io/queue-name": args.queue} if args.queue else {}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": args.name,
            "namespace": args.namespace,
            **({"labels": labels} if labels else {}),
            # One slice is one node pool: pods of a job on two of them would lack their links.
            "annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"},
        },
        "spec": {
            "successPolicy": {"operator": "All"},
            "failurePolicy": {
                "maxRestarts": args.restarts,
                "rules": [
                    {"name": "wrongUse", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]},
                ],
            },
            "replicatedJobs": [{"name": "slice", "replicas": args.slices, "template": {"spec": job(args, tpu)}}],
        },
    }


def job(args: argparse.Namespace, tpu: Slice) -> dict[str, Any]:
    """The Job of one slice: a pod a host. A pod that fails, be it by 75 after saving, has all restarted."""
    wrong = {"containerName": CONTAINER, "operator": "In", "values": [WRONG_USE]}
    return {
        "parallelism": tpu.hosts,
        "completions": tpu.hosts,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": wrong}]},
        "template": {"spec": pod(args, tpu)},
    }


def pod(args: argparse.Namespace, tpu: Slice) -> dict[str, Any]:
    """The pod of one host. GKE itself gives it the variables by which JAX finds the others, of other slices too."""
    spot = {"cloud.google.com/gke-spot": "true"} if args.spot else {}
    optional = {"serviceAccountName": args.service_account, "priorityClassName": args.priority}
    together = [command.TOGETHER] if tpu.hosts * args.slices > 1 else []
    return {
        "restartPolicy": "Never",
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "terminationGracePeriodSeconds": args.grace,
        **{name: value for name, value in optional.items() if value},
        "nodeSelector": {
            "cloud.google.com/gke-tpu-accelerator": tpu.accelerator,
            "cloud.google.com/gke-tpu-topology": tpu.shape,
            **spot,
        },
        "containers": [
            {
                "name": CONTAINER,
                "image": args.image,
                "command": ["python", *command.PROGRAM[1:], *args.command, *together],
                "env": variables(args.env),
                "ports": [{"containerPort": port} for port in PORTS],
                "resources": {what: {"google.com/tpu": tpu.chips} for what in ("requests", "limits")},
                "securityContext": {"privileged": True},  # older TPU nodes let no other container at the chips
            }
        ],
    }


def variables(given: list[str]) -> list[dict[str, str]]:
    """`NAME=VALUE` texts as Kubernetes writes them; logs are to come as they are written."""
    for text in given:
        if not re.fullmatch(r"[A-Za-z_]\w*=.*", text, re.DOTALL):
            raise UserError(f"--env {text}: write it as NAME=VALUE")
    pairs = [text.partition("=") for text in ("PYTHONUNBUFFERED=1", *given)]
    return [{"name": name, "value": value} for name, _, value in pairs]
