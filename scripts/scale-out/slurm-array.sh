#!/bin/bash
# A suite as a Slurm array, one part a task: sbatch --array=1-8 slurm-array.sh SUITE RESULTS
# A task's exit code is that of its part; `scancel` and the time limit send SIGTERM, upon which the
# report is written and the exit code is 130.
#SBATCH --job-name=beigebox
#SBATCH --array=1-4
#SBATCH --cpus-per-task=1
#SBATCH --time=00:30:00
#SBATCH --open-mode=append
set -eu
suite=$1 results=$2
mkdir -p "$results"
# The part and their number come from SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT. `exec`, so that
# the signal reaches the program and not this shell.
exec "${BEIGEBOX:-beigebox}" test --manifest "$suite" --shard auto --jobs "${SLURM_CPUS_PER_TASK:-1}" \
    --junit "$results/$SLURM_ARRAY_TASK_ID.xml" --hashes "$results/$SLURM_ARRAY_TASK_ID.hashes" \
    --artifacts "$results/failures-$SLURM_ARRAY_TASK_ID"
