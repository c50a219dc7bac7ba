package scenario

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

// cpuOf returns the CPU time that a process has used, and false where that cannot be read: another
// operating system, or a server in a container or on another machine.
func cpuOf(pid int) (time.Duration, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil || !strings.Contains(string(stat), "(postgres)") {
		return 0, false
	}
	// The same as utime+stime of stat, in nanoseconds instead of ticks of 10 ms (proc(5), schedstat).
	if s, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid)); err == nil {
		if ns, err := strconv.ParseInt(strings.Fields(string(s))[0], 10, 64); err == nil && ns > 0 {
			return time.Duration(ns), true
		}
	}
	// Fields 14 and 15; the second, the name, may have spaces.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	utime, err1 := strconv.ParseInt(fields[11], 10, 64)
	stime, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(utime+stime) * 10 * time.Millisecond, err1 == nil && err2 == nil
}

// serverCPU is the CPU time of every process of the server that serves sessions now or works in the
// background, by pid.
func (l *Lab) serverCPU(ctx context.Context) map[int]time.Duration {
	out := map[int]time.Duration{}
	rows, err := l.admin.Query(ctx, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
	if err != nil {
		return out
	}
	defer rows.Close()
	for rows.Next() {
		var pid int
		if rows.Scan(&pid) == nil {
			if cpu, ok := cpuOf(pid); ok {
				out[pid] = cpu
			}
		}
	}
	return out
}

// cpuBetween returns what the processes that were there before and after have used in between, in
// milliseconds; NaN where it cannot be told.
func cpuBetween(before, after map[int]time.Duration) float64 {
	if len(before) == 0 || len(after) == 0 {
		return math.NaN()
	}
	var used time.Duration
	for pid, b := range before {
		if a, ok := after[pid]; ok {
			used += a - b
		}
	}
	return float64(used) / float64(time.Millisecond)
}

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
