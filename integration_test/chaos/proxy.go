package main

import (
	"net"
	"sync"
	"time"
)

// A proxy forwards TCP connections, and can be as bad as a network: swallow what is sent without
// closing anything, be slow, reset connections, refuse them.
type proxy struct {
	ln      net.Listener
	target  string
	reap    time.Duration
	now     func() moment
	serving sync.WaitGroup

	mu       sync.Mutex // guards all below
	links    map[*link]struct{}
	slowness time.Duration // of each read
	refusing bool
	bad      moment // when it was last anything but good
	closed   bool
}

// A link is one forwarded connection. swallowed is guarded by the proxy's mu.
type link struct {
	client, server net.Conn
	swallowed      bool
	reaper         *time.Timer
}

// newProxy forwards to target. What is swallowed is closed after the time reap: keepalive finds out at
// last that nobody is there, at both ends.
func newProxy(target string, reap time.Duration, now func() moment) (*proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{ln: ln, target: target, reap: reap, now: now, links: make(map[*link]struct{})}
	p.serving.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

func (p *proxy) accept() {
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
func (p *proxy) forward(l *link, from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		swallowed, slowness := l.swallowed, p.slowness
		if err != nil && !swallowed {
			delete(p.links, l)
		}
		p.mu.Unlock()
		if err != nil {
			if !swallowed {
				l.close()
			}
			return
		}
		if swallowed {
			continue
		}
		if slowness > 0 {
			time.Sleep(slowness)
		}
		if _, err := to.Write(buf[:n]); err != nil {
			_ = from.Close() // the next read ends the link
		}
	}
}

// swallow makes the connections that exist half-open; new ones work.
func (p *proxy) swallow() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for l := range p.links {
		if !l.swallowed {
			l.swallowed = true
			l.reaper = time.AfterFunc(p.reap, func() {
				l.close()
				p.mu.Lock()
				defer p.mu.Unlock()
				delete(p.links, l)
			})
			n++
		}
	}
	p.bad = p.now()
	return n
}

// reset closes the connections that exist.
func (p *proxy) reset() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for l := range p.links {
		if !l.swallowed {
			l.close()
			n++
		}
	}
	p.bad = p.now()
	return n
}

func (p *proxy) slow(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slowness, p.bad = d, p.now()
}

func (p *proxy) refuse(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing, p.bad = yes, p.now()
}

// good returns since when the network has been good, zero if always, and whether it is now. What was
// swallowed goes on to be: it is for the listener to find that out.
func (p *proxy) good() (since moment, now bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bad, p.slowness == 0 && !p.refusing
}

func (p *proxy) close() {
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
