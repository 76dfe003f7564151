"""A Slurm of one node: munged, slurmctld and slurmd of this user in a folder of their own.

`python tests/slurm/one_node.py` starts one until Ctrl-C; Debian has it in slurm-wlm and munge.
"""

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
SBIN = "/usr/sbin:/sbin"  # not in the PATH of every user
CONFIG = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# a requeued job starts after cred_expire seconds, by default 120
AuthInfo=socket={folder}/munge.sock,cred_expire=15
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=2,sched_interval=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """The programs that are not installed."""
    return [name for name in PROGRAMS if not _program(name)]


def _program(name):
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SBIN}")


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def one_node(cpus=2):
    """The environment of a running cluster; it ends with the block.

    Args:
        cpus: That the node claims to have, so that so many jobs run at once.

    Raises:
        RuntimeError: It does not start, with the ends of its logs.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: of a socket
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    names = {"host": socket.gethostname().split(".")[0], "user": getpass.getuser()}
    ports = {"controller_port": _free_port(), "node_port": _free_port()}
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(folder=folder, cpus=cpus, **names, **ports))
    environment = os.environ | {"SLURM_CONF": str(config)}
    daemons = []
    try:
        daemons.append(_munged(folder, environment))
        for name in ("slurmctld", "slurmd"):
            daemons.append(_started(folder, environment, name, "-D", "-f", str(config)))
        _wait_until_idle(folder, environment)
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(15)
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder, environment, name, *options):
    with open(folder / f"{name}.out", "w") as log:
        command = [_program(name), *options]
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def _munged(folder, environment):
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    paths = {"socket": "sock", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={folder / 'munge'}.{ending}" for option, ending in paths.items()]
    options = ["--foreground", "--force", f"--key-file={key}", *options]
    daemon = _started(folder, environment, "munged", *options)
    for _ in range(200):
        if (folder / "munge.sock").exists():
            break
        time.sleep(0.05)
    return daemon


def _wait_until_idle(folder, environment, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=environment, capture_output=True, text=True
        )
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.3)
    logs = [path.read_text()[-1500:] for path in sorted(folder.glob("*.out"))]
    logs += [path.read_text()[-1500:] for path in sorted(folder.glob("slurm*.log"))]
    raise RuntimeError("Slurm does not start:\n" + "\n".join(logs))


if __name__ == "__main__":
    with one_node() as started, contextlib.suppress(KeyboardInterrupt):
        print(f"export SLURM_CONF={started['SLURM_CONF']}", flush=True)
        time.sleep(10**9)
