#!/bin/busybox sh
# The first process of a lab guest. Words of the kernel command line say what it does:
#   address=10.66.2.1/16
#   cpu=0.4             each vCPU wants 40 % of a core
#   dirty=32            32 MiB of memory written each second
# "cpu=0.2 dirty=8" sent to TCP port 7000 changes it while it runs, "reboot" reboots it, "boot_id" tells one boot from
# the next.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o size=90% tmpfs /run
for module in /lib/*.ko; do insmod "$module"; done

cpu=0 dirty=0 address=
for word in $(cat /proc/cmdline); do
  case $word in
    address=*) address=${word#address=} ;;
    cpu=*) cpu=${word#cpu=} ;;
    dirty=*) dirty=${word#dirty=} ;;
  esac
done
ip link set lo up
tries=0
until ip link set eth0 up 2>/dev/null || [ $tries -ge 100 ]; do tries=$((tries + 1)); usleep 50000; done
[ -z "$address" ] || ip addr add "$address" dev eth0

# /run/load holds what each worker does: microseconds busy of every 100 000, and 64 KiB blocks written each 250 ms.
set_load() {
  awk -v cpu="$1" -v dirty="$2" 'BEGIN { printf "%d %d\n", cpu * 100000 + 0.5, dirty * 4 + 0.5 }' > /run/load.new
  mv /run/load.new /run/load
}

# `read -t` on a pipe that nobody writes to is a sleep without a new process.
nap() { read -t "$1" nothing <&3; }
nap_us() { padded=$((1000000 + $1)); nap "0.${padded#1}"; }

# Busy by the wall clock: what a throttled host withholds shows as delay, it is not made up for later.
work_cpu() {
  mkfifo "/run/nap$1"; exec 3<>"/run/nap$1"
  while read -r busy blocks < /run/load; do
    if [ "$busy" -le 0 ]; then nap 0.5; continue; fi
    now=$EPOCHREALTIME; start=${now%.*}${now#*.}; now=$start
    while [ $((now - start)) -lt "$busy" ]; do now=$EPOCHREALTIME; now=${now%.*}${now#*.}; done
    rest=$((100000 - (now - start)))
    [ "$rest" -le 1000 ] || nap_us "$rest"
  done
}

# Turns a file of noise round by one block, again and again: each page written gets other content, which cannot be
# compressed away. (A migration sends every page written; QEMU's estimate of the dirty rate compares contents.)
work_memory() {
  mkfifo /run/napm; exec 3<>/run/napm
  size=0 at=0
  while read -r busy blocks < /run/load; do
    if [ "$blocks" -le 0 ]; then nap 0.5; continue; fi
    [ $size -gt 0 ] || make_noise
    now=$EPOCHREALTIME; start=${now%.*}${now#*.}
    while [ "$blocks" -gt 0 ]; do
      [ $at -gt 0 ] || copy_noise 0 $size 1
      count=$blocks
      [ $((at + count)) -le $size ] || count=$((size - at))
      copy_noise $((at + 1)) $at $count
      at=$(((at + count) % size)) blocks=$((blocks - count))
    done
    now=$EPOCHREALTIME; now=${now%.*}${now#*.}
    rest=$((250000 - (now - start)))
    [ "$rest" -le 1000 ] || nap_us "$rest"
  done
}

# 32 MiB of it, less in a small guest; the first MiB is enough to make neighbouring blocks differ.
make_noise() {
  size=16
  most=$(awk '/^MemAvailable/ { most = int($2 / 64 * 0.75); print most < 512 ? most : 512 }' /proc/meminfo)
  dd if=/dev/urandom of=/run/noise bs=64k count=$size 2>/dev/null
  while [ $size -lt "$most" ]; do
    count=$((most - size))
    [ $count -le $size ] || count=$size
    copy_noise 0 $size $count
    size=$((size + count))
  done
}

copy_noise() { dd if=/run/noise of=/run/noise bs=64k skip="$1" seek="$2" count="$3" conv=notrunc 2>/dev/null; }

set_load "$cpu" "$dirty"
worker=0
while [ $worker -lt "$(nproc)" ]; do
  work_cpu $worker &
  worker=$((worker + 1))
done
work_memory &
echo "lab guest $address is up" > /dev/console

# One line a connection; the answer is what now holds.
cat > /run/answer <<'ANSWER'
#!/bin/busybox sh
read -t 5 line
[ "$line" != boot_id ] || exec cat /proc/sys/kernel/random/boot_id
for word in $line; do echo "$word"; done > /run/order
echo "ok $line"
ANSWER
chmod +x /run/answer
while :; do
  nc -l -p 7000 -e /run/answer
  if [ -f /run/order ]; then
    while read -r word; do
      case $word in
        cpu=*) cpu=${word#cpu=} ;;
        dirty=*) dirty=${word#dirty=} ;;
        reboot) echo b > /proc/sysrq-trigger ;;
      esac
    done < /run/order
    rm /run/order
    set_load "$cpu" "$dirty"
  fi
done
