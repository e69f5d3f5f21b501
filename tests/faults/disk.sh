#!/bin/bash
# Trainings on a disk that is too small, for every size from one page to one that is large enough, and for every number
# of files: they must end with exit code 2 and one message that names the file, leave no temporary files, only valid
# checkpoints, and a status that tells it where that still fits, and, on a larger disk, resumed, end with the bits of a
# training that had room. Begun on such a disk and resumed on it; with checkpoint.on_error stop and warn, with no
# checkpoints, so that only logs grow, and with nothing but checkpoints on it, where warn must do without them; on 1 and
# 2 ranks. tests/faults/disk.sh [BUILD_FOLDER [STRIDE]]: every STRIDE-th size (default: build, 1: all). The disk is a
# tmpfs in a mount namespace of this script's own; exit code 2 where that is not permitted.
set -euo pipefail
if [[ -z ${FAULT_NAMESPACE:-} ]]; then
  for way in --mount '--mount --map-root-user'; do
    # shellcheck disable=SC2086 # several options
    ! unshare $way sh -c 'mount -t tmpfs none /mnt' 2>/dev/null || FAULT_NAMESPACE=1 exec unshare $way "$0" "$@"
  done
  echo 'the tests of a full disk need to mount a tmpfs (root, or user namespaces), which is not permitted here' >&2
  exit 2
fi
cd "$(dirname "$0")/../.."
# shellcheck source=tests/faults/common.sh
source tests/faults/common.sh
build=$(realpath "${1:-build}") stride=${2:-1}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OPENBLAS_NUM_THREADS=1
work=$(mktemp -d "${TMPDIR:-/tmp}/allegrad-disk.XXXXXX")
disk=$work/disk page=$(getconf PAGESIZE)
trap 'umount -R "$disk" 2>/dev/null || true; rm -rf "$work"' EXIT
cat >"$work/job.yaml" <<JOB
data: {file: data/lucas_county.h5, standardize: true}
model: {hidden: [8]}
train: {optimizer: {name: adam}, batch: 4096, epochs: 60, shuffle: none, reproducible: 2}
checkpoint: {every_epochs: 20, every_steps: 75, keep: 2}
log: {steps: 1, progress: off}
JOB
mkdir "$disk"
without_pictures "exit 1"
train() { # train <ranks> <run> <option>...
  local launcher=()
  (($1 == 1)) || launcher=(mpirun --oversubscribe --bind-to none -n "$1")
  timeout 60 "${launcher[@]}" "$build/allegrad" train "$work/job.yaml" --run "$2" --resume "${@:3}" \
    >"$work/out" 2>"$work/err"
}
tried=0 refused=0 ended=0 warned=0 unharmed=0 failures=0
fail() {
  echo "FAILED: $variant, $phase, $ranks ranks, $limit: $*"
  cat "$work/err"
  find "$disk" -type f -exec ls -l {} +
  failures=$((failures + 1))
}
left() { df --output="$1" "$disk" | tail -n 1; }
check_files() { # what a training that had no room must leave
  local state
  [[ $phase == begun ]] && ! grep -q '^run: ' "$work/out" && [[ -n $(find "$disk" -type f) ]] &&
    fail 'refused, but something was written'
  grep -q '^run: ' "$work/out" || return 0
  state=$(head -n 1 "$disk/run/status")
  (($(left avail) < 2 * page / 1024 || $(left iavail) < 1)) || [[ $state == 'state: failed' ]] ||
    fail "there is room for the status, and it tells $state"
}
check() { # what a training on the small disk has come to
  local code=$1
  case $code in
  0)
    if grep -q '^allegrad: warning: no checkpoint: .*No space left on device' "$work/err"; then
      warned=$((warned + 1))
      [[ $variant == apart ]] || fail 'finished without its checkpoints'
    else
      unharmed=$((unharmed + 1))
    fi
    ;;
  2)
    if grep -q '^run: ' "$work/out"; then ended=$((ended + 1)); else refused=$((refused + 1)); fi
    [[ $(grep -c '^allegrad: error: ' "$work/err") == 1 ]] || fail 'not told once'
    grep -q "^allegrad: error: .*$disk/run.*No space left on device" "$work/err" || fail 'file or reason not told'
    check_files
    ;;
  *) fail "exit code $code" ;;
  esac
  [[ $variant != apart || $code == 0 ]] || fail 'ended for want of a checkpoint'
  [[ -z $(find "$disk" -name '*.tmp') ]] || fail 'a temporary file stays behind'
  mount -o remount,size=64m,nr_inodes=1000 "$small"
  train "$ranks" "$disk/run" "${options[@]}" || fail "resumed: exit code $?"
  ! grep -q damaged "$work/err" || fail 'a damaged checkpoint'
  same final
  [[ $variant == warn ]] || same best # what was not written is told
  same_logs "$whole" "$disk/run"
}
same() { # same <weights file>
  [[ ! -e $whole/$1.weights.h5 && ! -e $disk/run/$1.weights.h5 ]] ||
    same_weights "$whole" "$disk/run" "$1"
}
mount_disks() { # mount_disks <option of the small one>
  small=$disk
  if [[ $variant == apart ]]; then
    mount -t tmpfs none "$disk"
    small=$disk/run/checkpoints
    mkdir -p "$small"
    : >"$disk/run/metrics.csv" # a run that was killed at its first file
  fi
  mount -t tmpfs -o "$1" none "$small"
}
try() { # try <option of the mount>: one training on such a disk, if what it begins with fits
  limit=$1
  mount_disks "$1"
  if [[ $phase == begun ]] || cp -r "$work/$variant.stopped/." "$disk/run" 2>/dev/null; then
    local code=0
    train "$ranks" "$disk/run" "${options[@]}" || code=$?
    check "$code"
    tried=$((tried + 1))
  fi
  umount -R "$disk"
}
for variant in stop warn logs apart; do
  options=(--set checkpoint.on_error=stop)
  case $variant in
  warn | apart) options=(--set checkpoint.on_error=warn) ;;
  logs) options+=(--set checkpoint.every_epochs=0 --set checkpoint.every_steps=0 --set checkpoint.best=false) ;;
  esac
  whole=$work/$variant.whole
  train 1 "$whole" "${options[@]}"
  train 1 "$work/$variant.stopped" "${options[@]}" --set train.max_steps=140
  sed -i 's/finished/running/' "$work/$variant.stopped/status"
  [[ $variant != apart ]] || rm "$work/apart.stopped/final.weights.h5" # would have to go on the small disk
  # one more file of weights than is kept, and the one beside which another is replaced
  held=$(du -B "$page" "$whole/final.weights.h5" | cut -f1)
  pages=$(($(du -s -B "$page" "$whole" | cut -f1) + 2 * held)) files=$(($(find "$whole" | wc -l) + 4))
  [[ $variant != apart ]] || pages=$((4 * held)) files=5
  for ranks in 1 2; do
    for phase in begun resumed; do
      for ((size = 1 + (ranks - 1) * stride / 2; size <= pages; size += stride)); do try "size=$((size * page))"; done
      for ((count = 2; count <= files; count += stride)); do try "nr_inodes=$count"; done
    done
  done
  echo "$variant: up to $pages pages or $files files"
done
echo "$tried disks too small ($refused trainings refused, $ended told and ended, $warned warned, $unharmed without" \
  "consequence): $failures of them lost anything"
((failures == 0 && refused > 0 && ended > 0 && warned > 0))
