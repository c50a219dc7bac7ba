// Package badnet is a TCP proxy that can be as bad as a network.
package badnet

import (
	"net"
	"sync"
	"time"
)

// A Proxy forwards TCP connections to a server. Its methods may be called by any goroutine.
type Proxy struct {
	ln      net.Listener
	target  string
	serving sync.WaitGroup

	mu       sync.Mutex // guards all below
	links    map[*link]struct{}
	latency  time.Duration
	rate     int
	refusing bool
	closed   bool
}

// A link is one forwarded connection.
type link struct {
	client, server net.Conn
	swallowed      bool // guarded by the proxy's mu
	reaper         *time.Timer
}

// New returns a good network in front of the server at target, host:port. It must be closed.
func New(target string) (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{ln: ln, target: target, links: make(map[*link]struct{})}
	p.serving.Go(p.accept)
	return p, nil
}

// Addr is the proxy's host:port.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

func (p *Proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close() // as the server would refuse it
			continue
		}
		l := &link{client: client, server: server}
		p.mu.Lock()
		refused := p.refusing || p.closed
		if !refused {
			p.links[l] = struct{}{}
			p.serving.Go(func() { p.forward(l, l.client, l.server) })
			p.serving.Go(func() { p.forward(l, l.server, l.client) })
		}
		p.mu.Unlock()
		if refused {
			l.close()
		}
	}
}

func (l *link) close() {
	_ = l.client.Close() // either may be closed already
	_ = l.server.Close()
}

// forward ends with the link, unless it is swallowed: then the other side learns nothing.
func (p *Proxy) forward(l *link, from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		swallowed, delay := l.swallowed, p.latency
		if p.rate > 0 {
			delay += time.Duration(n) * time.Second / time.Duration(p.rate)
		}
		if err != nil && !swallowed {
			delete(p.links, l)
		}
		p.mu.Unlock()
		if n > 0 && !swallowed {
			time.Sleep(delay) // what the network takes
			if _, err := to.Write(buf[:n]); err != nil {
				_ = from.Close() // the next read ends the link
			}
		}
		if err != nil {
			if !swallowed {
				l.close()
			}
			return
		}
	}
}

// Swallow makes the connections that exist half-open, as when a host or a NAT entry is gone: nothing
// arrives any more, and nothing is closed before the time reap, when keepalive finds out at both ends; 0
// is never. New connections work. It returns how many it has swallowed.
func (p *Proxy) Swallow(reap time.Duration) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.swallowed {
			continue
		}
		l.swallowed = true
		n++
		if reap > 0 {
			l.reaper = time.AfterFunc(reap, func() {
				l.close()
				p.mu.Lock()
				defer p.mu.Unlock()
				delete(p.links, l)
			})
		}
	}
	return n
}

// Cut closes the connections that exist and are not swallowed, and returns how many.
func (p *Proxy) Cut() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if !l.swallowed {
			l.close()
			n++
		}
	}
	return n
}

// Refuse reports whether new connections are refused from now on.
func (p *Proxy) Refuse(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = yes
}

// Slow makes whatever is sent take so long from now on, in each direction, besides its bytes at a rate a
// second; a rate of 0 is no limit.
func (p *Proxy) Slow(latency time.Duration, rate int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latency, p.rate = latency, rate
}

// Close closes everything, and returns when no goroutine is left.
func (p *Proxy) Close() {
	_ = p.ln.Close()
	p.mu.Lock()
	p.closed = true
	for l := range p.links {
		if l.reaper != nil {
			l.reaper.Stop()
		}
		l.close()
	}
	p.mu.Unlock()
	p.serving.Wait()
}
