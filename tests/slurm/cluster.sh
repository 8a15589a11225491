#!/usr/bin/env bash
# Runs a command beside a real SLURM of this one machine, and stops SLURM afterwards: tests/slurm/cluster.sh [--install] COMMAND ...
#   tests/slurm/cluster.sh bash          # a shell with sbatch, squeue, scancel
#   make test-slurm                      # the tests with the marker `slurm`
# Two partitions: `low` (the default; its jobs are pre-empted, requeued and signalled as on a cluster) and `high`. All files lie in a
# temporary folder, and ports and sockets of their own leave another SLURM alone. --install gets SLURM with apt-get when root calls.
# Where SLURM cannot start it says why and ends with 0, because such a machine has nothing to test.
# KEEP=1 leaves the logs of SLURM there. Tried with SLURM 22.05 of Debian 12.
set -uo pipefail
PATH=$PATH:/usr/sbin:/sbin

skip() {
  echo "SLURM is skipped: $*"
  exit 0
}

if [ "${1:-}" = --install ]; then
  shift
  if ! command -v slurmctld >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge) >/dev/null 2>&1 ||
      skip 'apt-get could not install slurm-wlm and munge'
  fi
fi
[ $# -gt 0 ] || { echo 'usage: tests/slurm/cluster.sh [--install] COMMAND ...' >&2; exit 2; }
for program in munged slurmctld slurmd sbatch; do
  command -v "$program" >/dev/null || skip "$program is missing; on Debian and Ubuntu: apt-get install slurm-wlm munge"
done

folder=$(mktemp -d "${TMPDIR:-/tmp}/slurm.XXXXXX")
chmod 755 "$folder"
mkdir "$folder/state" "$folder/spool"
host=$(hostname -s)
port=$((20000 + RANDOM % 10000))
started=()

stop() {
  scancel --quiet --user="$(id -un)" 2>/dev/null
  for _ in $(seq 60); do [ -z "$(squeue --noheader 2>/dev/null)" ] && break; sleep 0.5; done
  for ((i = ${#started[@]} - 1; i >= 0; i--)); do kill "${started[i]}" 2>/dev/null; done
  wait 2>/dev/null
  [ "${KEEP:-}" ] && echo "SLURM's files: $folder" || rm -rf "$folder"
}
trap stop EXIT

# A pre-empted job waits for cred_expire before it starts again, and the SIGKILL after KillWait must not reach that start.
cat >"$folder/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=23
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=500000,batch_sched_delay=1
ReturnToService=2
MinJobAge=300
KillWait=20
JobRequeue=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 State=UNKNOWN
PartitionName=low Nodes=$host Default=YES PriorityTier=1 PreemptMode=REQUEUE State=UP
PartitionName=high Nodes=$host PriorityTier=10 PreemptMode=OFF State=UP
CONF
echo 'CgroupPlugin=cgroup/v1' >"$folder/cgroup.conf"
export SLURM_CONF=$folder/slurm.conf

head -c 1024 /dev/urandom >"$folder/munge.key"
chmod 400 "$folder/munge.key"
munged --foreground --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munge.pid" \
  --seed-file="$folder/munge.seed" --log-file="$folder/munged.log" >"$folder/munged.out" 2>&1 &
started+=($!)
for _ in $(seq 50); do [ -S "$folder/munge.socket" ] && break; sleep 0.1; done
slurmctld -D -i >"$folder/slurmctld.out" 2>&1 &
started+=($!)
slurmd -D -N "$host" >"$folder/slurmd.out" 2>&1 &
started+=($!)
for _ in $(seq 60); do
  [ "$(sinfo --noheader --partition=low --format=%T 2>/dev/null)" = idle ] && break
  sleep 0.5
done
if [ "$(sinfo --noheader --partition=low --format=%T 2>/dev/null)" != idle ]; then
  grep -hiE 'error|fatal' "$folder"/*.log "$folder"/*.out 2>/dev/null | tail -5
  skip 'the node did not become idle within 30 seconds'
fi
"$@"
