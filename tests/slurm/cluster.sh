# shellcheck shell=bash
# Two hosts and a Slurm on one machine, for tests to source; nothing of it is seen outside or outlives the script.
#
#   cluster_enter "$@"      at the script's beginning: runs it again in namespaces of its own, whose end ends everything
#   cluster_hosts <folder>  the hosts node1 and node2: an address, name and /dev/shm each, one file system
#   cluster_slurm           munged, slurmctld and a slurmd on each host, up when it returns
#   on <host> <command>...  runs a command there
#   cluster_end             stops it all; then the folder can be removed
#
# Needs root.

cluster_enter() {
  [[ ${ALLEGRAD_CLUSTER:-} != inside ]] || return 0
  ((EUID == 0)) || { echo "$0 makes network namespaces and needs root" >&2 && exit 1; }
  export ALLEGRAD_CLUSTER=inside
  # The process namespace is what ends all: its first process is the script, and the kernel kills the others with it.
  exec unshare --net --mount --uts --ipc --pid --fork --kill-child --mount-proc "$0" "$@"
}

wait_for() { # wait_for <seconds> <command>...: until it succeeds
  local until=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < until)) || { echo "waited in vain for: $*" >&2 && return 1; }
    sleep 0.2
  done
}

on() { # on <host> <command>...
  local host=$1
  shift
  nsenter --target "$(<"$cluster/$host.pid")" --net --mount --uts --wd="$PWD" "$@"
}

cluster_hosts() { # cluster_hosts <folder>
  cluster=$(realpath "$1")
  local host number
  mount --make-rprivate /
  mount -t tmpfs tmpfs /run
  mkdir /run/host # of each host its own
  printf '127.0.0.1 localhost\n10.9.8.1 control\n10.9.8.11 node1\n10.9.8.12 node2\n' >"$cluster/hosts"
  mount --bind "$cluster/hosts" /etc/hosts
  hostname control
  ip link set lo up
  ip link add cluster type bridge
  ip addr add 10.9.8.1/24 dev cluster
  ip link set cluster up
  for number in 1 2; do
    host=node$number
    # A process that sleeps there holds a host's namespaces; its number is the sign that they are ready.
    unshare --net --uts --mount --propagation private bash -c "hostname $host && ip link set lo up &&
      mount -t tmpfs tmpfs /dev/shm && mount -t tmpfs tmpfs /run/host &&
      echo \$\$ >'$cluster/$host.new' && mv '$cluster/$host.new' '$cluster/$host.pid' && exec sleep infinity" &
    wait_for 10 test -e "$cluster/$host.pid"
    ip link add "host$number" type veth peer name eth0 netns "$(<"$cluster/$host.pid")"
    ip link set "host$number" master cluster up
    on "$host" ip addr add "10.9.8.1$number/24" dev eth0
    on "$host" ip link set eth0 up
  done
}

cluster_end() {
  [[ -n ${cluster:-} ]] || return 0
  # shellcheck disable=SC2046 # several processes
  kill $(jobs -p) 2>/dev/null || true
}

slurm_is_up() { [[ $(sinfo --noheader --Node --states=idle --format=%N | sort -u | wc -l) == 2 ]]; }

cluster_slurm() {
  local host cpus
  cpus=$(nproc)
  mkdir "$cluster/munge" "$cluster/state" "$cluster/spool"
  chmod 700 "$cluster/munge"
  dd if=/dev/urandom of="$cluster/munge/key" bs=128 count=1 status=none
  chmod 400 "$cluster/munge/key"
  mkdir /run/munge # where libmunge looks
  munged --foreground --force --key-file="$cluster/munge/key" --pid-file=/run/munge/pid --seed-file="$cluster/munge/seed" \
    --log-file="$cluster/munge/log" >"$cluster/munge/out" 2>&1 &
  cat >"$cluster/slurm.conf" <<CONF
ClusterName=allegrad
SlurmctldHost=control(10.9.8.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0,preempt_reorder_count=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
MinJobAge=3600
ReturnToService=2
SlurmdTimeout=20
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool/%n
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd-%n.pid
SlurmctldLogFile=$cluster/slurmctld.log
SlurmdLogFile=$cluster/slurmd-%n.log
SlurmdParameters=config_overrides
TmpFS=/run/host
NodeName=node1 NodeAddr=10.9.8.11 CPUs=$cpus RealMemory=1000
NodeName=node2 NodeAddr=10.9.8.12 CPUs=$cpus RealMemory=1000
PartitionName=low Nodes=node1,node2 Default=YES MaxTime=UNLIMITED PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=node1,node2 MaxTime=UNLIMITED PriorityTier=10 PreemptMode=OFF
CONF
  : >"$cluster/cgroup.conf"
  export SLURM_CONF=$cluster/slurm.conf
  wait_for 10 munge --no-input
  slurmctld -D >"$cluster/slurmctld.out" 2>&1 &
  wait_for 20 scontrol ping
  for host in node1 node2; do cluster_slurmd "$host"; done
  wait_for 30 slurm_is_up
}

# The hosts share the machine's cores: each has its half of them.
cluster_cores() { # cluster_cores <host>
  local half=$((($(nproc) + 1) / 2))
  if [[ $1 == node1 ]]; then echo "0-$((half - 1))"; else echo "$((half == $(nproc) ? 0 : half))-$(($(nproc) - 1))"; fi
}

cluster_slurmd() { # cluster_slurmd <host>: its slurmd, in the background; its number is in /run/slurmd-<host>.pid
  on "$1" taskset --cpu-list "$(cluster_cores "$1")" slurmd -D >"$cluster/slurmd-$1.out" 2>&1 &
}
