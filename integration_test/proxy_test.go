package integration_test

import (
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// A proxy is a TCP proxy in front of a server that behaves like a bad network.
type proxy struct {
	net.Listener
	target string

	mu      sync.Mutex // guards all below
	links   map[*link]bool
	refuses bool
	latency time.Duration // added to every chunk, in each direction
	rate    int           // bytes a second and direction; 0 is no limit
}

// A link is one connection through a proxy.
type link struct {
	client, server net.Conn
	dark           bool // what comes is swallowed, and nothing is closed; guarded by proxy.mu
}

// newProxy is a proxy in front of the server of the URL, and the URL that goes through it.
func newProxy(t testing.TB, direct string) (*proxy, string) {
	t.Helper()
	through, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: ln, target: through.Host, links: make(map[*link]bool)}
	through.Host = ln.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			l := p.link(client)
			if l == nil {
				_ = client.Close()
				continue
			}
			serving.Go(func() { p.forward(l, l.client, l.server) })
			serving.Go(func() { p.forward(l, l.server, l.client) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		p.cut()
		serving.Wait()
	})
	return p, through.String()
}

func (p *proxy) link(client net.Conn) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuses {
		return nil
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return nil
	}
	l := &link{client: client, server: server}
	p.links[l] = true
	return l
}

func (p *proxy) forward(l *link, from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		dark, delay := l.dark, p.latency
		if p.rate > 0 {
			delay += time.Duration(n) * time.Second / time.Duration(p.rate)
		}
		p.mu.Unlock()
		if n > 0 && !dark {
			time.Sleep(delay) // what the network takes
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if !dark {
				_ = to.Close()
			}
			return
		}
	}
}

// swallow makes the connections that exist half-open, as when a host or a NAT entry is gone: nothing
// arrives any more, and nothing is closed. New ones work.
func (p *proxy) swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.dark = true
	}
}

// cut closes the connections that exist.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		_ = l.client.Close()
		_ = l.server.Close()
		delete(p.links, l)
	}
}

// refuse says whether new connections are refused.
func (p *proxy) refuse(refuses bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = refuses
}

// slow makes the network so slow from now on.
func (p *proxy) slow(latency time.Duration, rate int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latency, p.rate = latency, rate
}
