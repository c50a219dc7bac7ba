//go:build unix

package devpg

import (
	"context"
	"os"
	"testing"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
)

// TestDocker is skipped where no engine answers, or where the engine has not
// the image and DEVPG_TEST_PULL is not set: then it would test a registry.
func TestDocker(t *testing.T) {
	pool := dockerPool(t)
	w, err := Config{Source: SourceDocker}.wish()
	must(t, err)
	e := newEngine(pool.Client, w)
	if _, err := pool.Client.InspectImage(e.image); err != nil && os.Getenv("DEVPG_TEST_PULL") == "" {
		t.Skipf("the engine has no image %s; DEVPG_TEST_PULL=1 has it pulled, DEVPG_MAJOR or DEVPG_IMAGE names another", e.image)
	}
	serverLife(t, Config{Source: SourceDocker})

	t.Run("nothing outlives the process", func(t *testing.T) {
		v := startVictim(t, SourceDocker)
		must(t, v.cmd.Process.Kill())
		v.cmd.Wait()
		eventually(t, "no container left", func() bool {
			left, err := pool.Client.ListContainers(docker.ListContainersOptions{
				All:     true,
				Filters: map[string][]string{"label": {"org.pgbarrier.devpg"}},
			})
			must(t, err)
			return len(left) == 0
		})
	})
}

func dockerPool(t *testing.T) *dockertest.Pool {
	pool, err := dockertest.NewPool("")
	if err != nil {
		t.Skip("no Docker engine: ", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), enginePing)
	defer cancel()
	t.Cleanup(pool.Client.HTTPClient.CloseIdleConnections)
	if err := pool.Client.PingWithContext(ctx); err != nil {
		t.Skip("no Docker engine: ", err)
	}
	return pool
}
