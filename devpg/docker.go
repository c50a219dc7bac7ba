package devpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
)

const (
	defaultDockerMajor = 17
	enginePing         = 5 * time.Second  // an engine that takes longer is taken for absent
	containerGone      = 30 * time.Second // for the engine to remove an ended container
	containerPort      = "5432/tcp"
)

// engine is a Docker engine and the image to run in it.
type engine struct {
	client *docker.Client
	image  string
	host   string // where the engine publishes ports, as seen from here
	bind   string // the engine's address on which it does
}

// dockerSite makes a container for a server. The container's first process is
// the keeper. Its stdin is this process's connection to the engine (StdinOnce):
// when that breaks, the keeper ends, the container with it, and the engine
// removes the container and its volumes (AutoRemove).
func dockerSite(ctx context.Context, w wish) (*site, error) {
	pool, err := dockertest.NewPool("")
	if err != nil {
		return nil, fmt.Errorf("no engine: %w", err)
	}
	e := newEngine(pool.Client, w)
	defer e.client.HTTPClient.CloseIdleConnections()
	ping, cancel := context.WithTimeout(ctx, enginePing)
	defer cancel()
	if err := e.client.PingWithContext(ping); err != nil {
		return nil, fmt.Errorf("no engine answers at %s: %w", e.client.Endpoint(), err)
	}
	if err := e.pull(ctx); err != nil {
		return nil, err
	}
	return e.site(ctx, w.log)
}

func newEngine(client *docker.Client, w wish) *engine {
	e := &engine{client: client, image: os.Getenv("DEVPG_IMAGE"), host: "127.0.0.1", bind: "127.0.0.1"}
	if e.image == "" {
		e.image = "postgres:" + strconv.Itoa(cmp.Or(w.major, max(w.minMajor, defaultDockerMajor)))
	}
	if u, err := url.Parse(e.client.Endpoint()); err == nil && u.Scheme != "unix" && u.Scheme != "npipe" {
		e.host = u.Hostname()
		if ip := net.ParseIP(e.host); (ip == nil || !ip.IsLoopback()) && e.host != "localhost" {
			e.bind = "" // the engine is on another machine: all its addresses
		}
	}
	return e
}

func (e *engine) pull(ctx context.Context) error {
	if _, err := e.client.InspectImage(e.image); err == nil {
		return nil
	}
	repository, tag := docker.ParseRepositoryTag(e.image)
	err := e.client.PullImage(docker.PullImageOptions{
		Repository: repository,
		Tag:        cmp.Or(tag, "latest"),
		Context:    ctx,
	}, docker.AuthConfiguration{})
	if err != nil {
		return fmt.Errorf("the image %s is not there and cannot be pulled: %w", e.image, err)
	}
	return nil
}

// site makes one container.
func (e *engine) site(ctx context.Context, log io.Writer) (*site, error) {
	// The port may be seen beyond this machine, so there is a password.
	password := randomHex() + randomHex()
	container, err := e.client.CreateContainer(docker.CreateContainerOptions{
		Context: ctx,
		Config: &docker.Config{
			Image:        e.image,
			User:         "postgres",
			Entrypoint:   []string{"sh", "-c", keeperScript, "keeper", "", "/tmp", "/var/tmp"},
			Env:          []string{"LC_ALL=C", "TZ=UTC", "DEVPG_KEEPER_PASSWORD=" + password},
			ExposedPorts: map[docker.Port]struct{}{containerPort: {}},
			Labels:       map[string]string{"org.pgbarrier.devpg": ""},
			OpenStdin:    true,
			StdinOnce:    true,
			AttachStdin:  true,
			AttachStdout: true,
			AttachStderr: true,
		},
		HostConfig: &docker.HostConfig{
			AutoRemove:   true,
			PortBindings: map[docker.Port][]docker.PortBinding{containerPort: {{HostIP: e.bind}}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("creating a container of %s: %w", e.image, err)
	}
	k, err := e.attach(ctx, container.ID, log)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting a container of %s: %w", e.image, err), e.remove(container.ID))
	}
	at := &site{
		keeper:   k,
		source:   SourceDocker,
		listen:   "*",
		host:     e.host,
		inside:   5432,
		password: password,
		unpack: func(ctx context.Context, archive tarParts) error {
			return piped(archive, func(r io.Reader) error {
				return e.client.UploadToContainer(container.ID, docker.UploadToContainerOptions{
					InputStream: io.NopCloser(r), // net/http would close r; piped reads on
					Path:        k.dir + "/data",
					Context:     ctx,
				})
			})
		},
		another: func(ctx context.Context) (*site, error) { return e.site(ctx, log) },
	}
	if err := e.locate(ctx, container.ID, at); err != nil {
		k.close()
		return nil, err
	}
	return at, nil
}

// attach connects to the container's standard streams and starts it.
func (e *engine) attach(ctx context.Context, id string, log io.Writer) (*keeper, error) {
	inReader, in := io.Pipe()
	out, outWriter := io.Pipe()
	attached := make(chan struct{})
	attachment, err := e.client.AttachToContainerNonBlocking(docker.AttachToContainerOptions{
		Container:    id,
		InputStream:  inReader,
		OutputStream: outWriter,
		ErrorStream:  outWriter,
		Success:      attached,
		Stream:       true,
		Stdin:        true,
		Stdout:       true,
		Stderr:       true,
	})
	if err != nil {
		return nil, err
	}
	<-attached
	attached <- struct{}{}
	go func() {
		outWriter.CloseWithError(attachment.Wait())
		inReader.Close()
	}()
	if err := e.client.StartContainerWithContext(id, nil, ctx); err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	return newKeeper(ctx, in, out, log, func() error { return e.remove(id) })
}

// locate fills in where the server in a running container is reached.
func (e *engine) locate(ctx context.Context, id string, at *site) error {
	for {
		c, err := e.client.InspectContainerWithContext(id, ctx)
		if err != nil {
			return fmt.Errorf("inspecting the container: %w", err)
		}
		if c.NetworkSettings != nil {
			at.peerHost = c.NetworkSettings.IPAddress
			for _, network := range c.NetworkSettings.Networks {
				at.peerHost = cmp.Or(at.peerHost, network.IPAddress)
			}
			for _, binding := range c.NetworkSettings.Ports[containerPort] {
				if at.port, err = strconv.Atoi(binding.HostPort); err == nil {
					return nil
				}
			}
		}
		// Some engines publish a moment after the start (dockertest retries too).
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-at.keeper.done:
			return errors.New("the container ended before its port was published" + at.keeper.log.end())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// remove removes what is left of a container, and returns when nothing is.
// Usually the engine is at it already.
func (e *engine) remove(id string) error {
	defer e.client.HTTPClient.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), containerGone)
	defer cancel()
	err := e.client.RemoveContainer(docker.RemoveContainerOptions{ID: id, Force: true, RemoveVolumes: true, Context: ctx})
	for {
		if _, ierr := e.client.InspectContainerWithContext(id, ctx); isGone(ierr) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("removing container %.12s: %w", id, cmp.Or(err, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func isGone(err error) bool {
	var gone *docker.NoSuchContainer
	return errors.As(err, &gone) || err != nil && strings.Contains(err.Error(), "No such container")
}
