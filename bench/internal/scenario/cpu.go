package scenario

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A process is what /proc/<pid>/stat says of a server's process (proc(5)).
type process struct {
	parent      int
	cpu, reaped time.Duration // its own, and that of its children that have ended
}

// processOf returns false where that cannot be read: another operating system, or a server in a container
// or on another machine.
func processOf(pid int) (p process, ok bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil || !strings.Contains(string(stat), "(postgres)") {
		return p, false
	}
	// From field 3 on, behind the name. Times are in ticks of 10 ms.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	field := func(number int) int64 {
		v, _ := strconv.ParseInt(fields[number-3], 10, 64) // the kernel writes numbers
		return v
	}
	const tick = 10 * time.Millisecond
	p.parent = int(field(4))
	p.cpu = time.Duration(field(14)+field(15)) * tick
	p.reaped = time.Duration(field(16)+field(17)) * tick
	// The same in nanoseconds, if the kernel counts them.
	if s, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid)); err == nil {
		if ns, err := strconv.ParseInt(strings.Fields(string(s))[0], 10, 64); err == nil && ns > 0 {
			p.cpu = time.Duration(ns)
		}
	}
	return p, true
}

// cpuOf returns the CPU time, in µs, that these processes have used; NaN where it cannot be told.
func cpuOf(pids ...int) float64 {
	var used time.Duration
	for _, pid := range pids {
		p, ok := processOf(pid)
		if !ok {
			return math.NaN()
		}
		used += p.cpu
	}
	return microseconds(used)
}

// serverCPU returns the CPU time, in µs, that all processes of the server have used, also those that have
// ended; NaN where it cannot be told. postmaster is their parent.
func serverCPU(postmaster int) float64 {
	parent, ok := processOf(postmaster)
	if !ok {
		return math.NaN()
	}
	used := parent.cpu + parent.reaped
	stats, _ := filepath.Glob("/proc/[0-9]*") // the pattern is good
	for _, dir := range stats {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if p, ok := processOf(pid); ok && p.parent == postmaster {
			used += p.cpu
		}
	}
	return microseconds(used)
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// cpuModel names the processor, if Linux tells it.
func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // only read
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
