"""The JobSet is one that Kubernetes and JobSet take: the strict schemas refuse any key that they do not know."""

import copy

import jsonschema
import kubernetes_validate
import pytest
import yaml

from mmjax import cli
from tests.launch.standins import install, path_with

KUBERNETES = "1.33"
# The fields of api/jobset/v1alpha2/jobset_types.go of kubernetes-sigs/jobset at 0336a8f that are no Job's own.
POLICIES = {
    "successPolicy": {
        "type": "object",
        "required": ["operator"],
        "additionalProperties": False,
        "properties": {
            "operator": {"enum": ["All", "Any"]},
            "targetReplicatedJobs": {"type": "array", "items": {"type": "string"}},
        },
    },
    "failurePolicy": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "maxRestarts": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
            "restartStrategy": {"enum": ["Recreate", "BlockingRecreate", "InPlaceRestart"]},
            "rules": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "action"],
                    "additionalProperties": False,
                    "properties": {
                        "name": {"type": "string", "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
                        "action": {"enum": ["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"]},
                        "onJobFailureReasons": {
                            "type": "array",
                            "uniqueItems": True,
                            "items": {"enum": ["BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy"]},
                        },
                        "targetReplicatedJobs": {"type": "array", "items": {"type": "string"}},
                    },
                },
            },
        },
    },
}
JOBSET = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "jobset.x-k8s.io/v1alpha2"},
        "kind": {"const": "JobSet"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "required": ["replicatedJobs"],
            "additionalProperties": False,
            "properties": {
                **POLICIES,
                "suspend": {"type": "boolean"},
                "ttlSecondsAfterFinished": {"type": "integer", "minimum": 0},
                "replicatedJobs": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["name", "template"],
                        "additionalProperties": False,
                        "properties": {
                            "name": {"type": "string"},
                            "replicas": {"type": "integer", "minimum": 0},
                            "template": {"type": "object"},
                        },
                    },
                },
            },
        },
    },
}
TRAIN = ["train", "--config", "c.py", "--workdir", "gs://bucket/run"]
NEEDED = ["--name", "scenes", "--image", "registry/mmjax:1", "--topology"]


def check(jobset):
    """What the API server refuses, raises."""
    jsonschema.validate(jobset, JOBSET)
    metadata = jobset["metadata"]
    for replicated in jobset["spec"]["replicatedJobs"]:
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, **replicated["template"]}
        kubernetes_validate.validate(job, KUBERNETES, strict=True)


def launch(*options):
    return cli.main(["launch", "gke", *NEEDED, *options, "--", *TRAIN])


@pytest.fixture
def manifest(capsys):
    """The printed JobSet."""

    def make(*options):
        assert launch(*options, "--dry-run") == 0
        return yaml.safe_load(capsys.readouterr().out)

    return make


ALL = ["--slices", "2", "--service-account", "writer", "--queue", "q", "--priority", "high", "--spot", "--env", "A=b=c"]


@pytest.mark.parametrize("options", [["v5e:16x16"], ["v5p:4x4x8", *ALL], ["v6e:1x1"]])
def test_the_schemas_take_it(manifest, options):
    check(manifest(*options))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda jobset: jobset["spec"].update(replicas=2),
        lambda jobset: jobset["spec"]["failurePolicy"]["rules"][0].update(action="Retry"),
        lambda jobset: jobset["spec"]["failurePolicy"].update(maxRestarts="ten"),
        lambda jobset: inner(jobset).update(backofLimit=0),
        lambda jobset: inner(jobset)["template"]["spec"].update(nodeSelectors={}),
        lambda jobset: inner(jobset)["template"]["spec"]["containers"][0]["env"][0].update(value=1),
        lambda jobset: inner(jobset)["podFailurePolicy"]["rules"][0]["onExitCodes"].pop("values"),
    ],
)
def test_the_schemas_refuse_mistakes(manifest, spoil):
    jobset = copy.deepcopy(manifest("v5e:4x4"))
    spoil(jobset)
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(jobset)


def inner(jobset):
    return jobset["spec"]["replicatedJobs"][0]["template"]["spec"]


# Hosts and chips a host as in system_characteristics.py of AI-Hypercomputer/xpk at 02b0c09.
@pytest.mark.parametrize(
    ("topology", "accelerator", "hosts", "chips"),
    [
        ("v4:2x2x2", "tpu-v4-podslice", 2, 4),
        ("v5e:16x16", "tpu-v5-lite-podslice", 64, 4),
        ("v5p:4x4x4", "tpu-v5p-slice", 16, 4),
        ("v6e:2x4", "tpu-v6e-slice", 2, 4),
        ("v6e:1x1", "tpu-v6e-slice", 1, 1),
        ("tpu7x:2x2x1", "tpu7x", 1, 4),
    ],
)
def test_a_slice_has_its_hosts(manifest, topology, accelerator, hosts, chips):
    job = inner(manifest(topology))
    pod = job["template"]["spec"]
    assert job["parallelism"] == job["completions"] == hosts
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-accelerator"] == accelerator
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == topology.partition(":")[2]
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": chips}
    assert ("--distributed" in pod["containers"][0]["command"]) == (hosts > 1)


def test_what_was_asked_for_is_there(manifest):
    jobset = manifest("v5e:4x4", *ALL, "--restarts", "7", "--grace", "60", "--namespace", "lab")
    replicated, pod = jobset["spec"]["replicatedJobs"][0], inner(jobset)["template"]["spec"]
    assert replicated["replicas"] == 2 and jobset["spec"]["failurePolicy"]["maxRestarts"] == 7
    assert jobset["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "q"}
    assert jobset["metadata"]["namespace"] == "lab"
    assert jobset["metadata"]["annotations"] == {
        "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
    }
    assert pod["serviceAccountName"] == "writer" and pod["priorityClassName"] == "high"
    assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true" and pod["terminationGracePeriodSeconds"] == 60
    assert {"name": "A", "value": "b=c"} in pod["containers"][0]["env"]
    assert pod["containers"][0]["command"] == ["python", "-m", "mmjax.cli", *TRAIN, "--distributed"]


def test_wrong_use_ends_the_jobset_and_all_else_restarts_it(manifest):
    jobset = manifest("v5e:4x4")
    (rule,) = inner(jobset)["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob" and rule["onExitCodes"]["operator"] == "In"
    assert rule["onExitCodes"]["values"] == [2] and inner(jobset)["backoffLimit"] == 0
    (policy,) = jobset["spec"]["failurePolicy"]["rules"]
    assert policy["action"] == "FailJobSet" and policy["onJobFailureReasons"] == ["PodFailurePolicy"]


def test_it_is_applied(manifest, tmp_path, monkeypatch, capsys):
    expected = manifest("v5e:4x4", "--slices", "2")
    install(tmp_path, "kubectl", "(here / 'applied').write_text(sys.stdin.read())")
    monkeypatch.setenv("PATH", path_with(tmp_path))
    assert launch("v5e:4x4", "--slices", "2") == 0
    assert yaml.safe_load((tmp_path / "applied").read_text()) == expected
    assert (tmp_path / "kubectl.calls").read_text() == "apply -f -\n"
    assert capsys.readouterr().out.endswith("jobset-name=scenes --follow --prefix --max-log-requests 8\n")
    install(tmp_path, "kubectl", "sys.exit(3)")
    assert launch("v5e:4x4") == 1
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert launch("v5e:4x4") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["v5:4x4"],
            "unknown chip 'v5'; did you mean v5",
        ),
        (["v5e:4x4x4"], "--topology v5e:4x4x4: a slice of v5e has 2 axes, such as v5e:8x8"),
        (["h100:8x4"], "--topology h100:8x4: this launches on TPUs: v4"),
        (["v5p:3x3x3"], "--topology v5p:3x3x3: 27 chips do not divide among hosts of 4"),
        (["v5e:4x4", "--slices", "0"], "--slices must be at least 1, got 0"),
        (["v5e:4x4", "--env", "A"], "--env A: write it as NAME=VALUE"),
        (["v5e:4x4", "--name", "My_Run"], "--name My_Run: at most 40 small letters, digits and hyphens"),
    ],
)
def test_wrong_use_is_one_line(capsys, options, message):
    assert launch(*options) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"mmjax launch: {message}") and err.count("\n") == 1
