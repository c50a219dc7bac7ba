package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCommand struct {
	JSON bool `name:"json" help:"Print the result as JSON."`
}

func (c *versionCommand) Run(std streams) error {
	v := struct {
		Version  string `json:"version"`
		Revision string `json:"revision,omitempty"`
		Go       string `json:"go"`
	}{"(devel)", "", runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			v.Version = info.Main.Version
		}
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				v.Revision = setting.Value
			}
		}
	}
	if c.JSON {
		return writeJSON(std.out, v)
	}
	_, err := fmt.Fprintf(std.out, "pgbarrier %s (%s %s/%s)\n", v.Version, v.Go, runtime.GOOS, runtime.GOARCH)
	return err
}
