#!/usr/bin/env bash
# Runs a command inside a SLURM job; when the job's time is up the command saves, and the job goes back into the queue.
#   launch/until_complete.sh COMMAND [ARGUMENT ...]
# The job must ask for `--requeue --signal=B:USR1@120`; the command exits with 75 once everything is saved.
set -uo pipefail
"$@" &
run=$!
out_of_time=0 interrupted=1
pass_on() {
  kill -USR1 "$run" 2>/dev/null && interrupted=1
}
trap 'out_of_time=1; pass_on' USR1 # 120 s before the limit: the run saves and exits with 75
trap pass_on TERM                  # cancelled, or preempted: it saves, too, but only SLURM may put the job back
while [ "$interrupted" -eq 1 ]; do # a signal ends the wait, not the run
  interrupted=0
  wait "$run"
  status=$?
done
if [ "$status" -eq 75 ] && [ "$out_of_time" -eq 1 ]; then
  # One task of an array by both numbers: the last one's SLURM_JOB_ID is the array's, which would requeue all of them.
  scontrol requeue "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"
fi
exit "$status"
