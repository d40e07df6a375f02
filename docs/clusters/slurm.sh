#!/bin/bash
# A search on the nodes of a Slurm allocation: sbatch docs/clusters/slurm.sh spaces/quick.yaml
#SBATCH --job-name=isogloss
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@300

# The search ends itself ten minutes before the allocation does, and makes best/ in the time it has.
# A lost allocation is gone on with by `--resume runs/NAME`.
set -euo pipefail
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export RAY_AUTH_MODE=token
umask 077
[ -s ~/.ray/auth_token ] || ray get-auth-token --generate > /dev/null   # the home is shared

srun --kill-on-bad-exit=0 ray symmetric-run --address "$HEAD:6379" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus "$SLURM_CPUS_PER_TASK" --num-gpus "$SLURM_GPUS_ON_NODE" -- \
  python -m search.run "${1:?a space file}" --address "$HEAD:6379" --timeout 7h50m
