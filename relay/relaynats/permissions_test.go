package relaynats

import (
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// permissions are those of docs/fleet.md: a user for the relays, and one for each kind of worker.
func permissions(o *natsserver.Options) {
	user := func(name string, publish, subscribe []string) *natsserver.User {
		return &natsserver.User{Username: name, Password: name, Permissions: &natsserver.Permissions{
			Publish: &natsserver.SubjectPermission{Allow: publish}, Subscribe: &natsserver.SubjectPermission{Allow: subscribe}}}
	}
	worker := []string{"pgbarrier.v1.hello.*", "pgbarrier.v1.relay.*"}
	o.Users = []*natsserver.User{
		user("relay", []string{"pgbarrier.in.>"}, []string{"pgbarrier.v1.>"}),
		user("ship", worker, []string{"pgbarrier.in.ship.>"}),
		user("bill", worker, []string{"pgbarrier.in.bill.>"}),
	}
}

func TestPermissionsKeepWorkersFromOverhearingForgingAndPosing(t *testing.T) {
	t.Parallel()
	r := newRig(t, permissions)
	l, err := listener.New(r.pool, listener.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r.serve(ServerConfig{Lease: 10 * time.Second}, r.connect(t, nats.UserInfo("relay", "relay")), l)
	c := r.client(ClientConfig{User: "ship"}, nats.UserInfo("ship", "ship"))
	token, do := r.create(r.pool)
	done := r.pending(c, token)

	refused := make(chan error, 10)
	bill := r.connect(t, nats.UserInfo("bill", "bill"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	for what, try := range map[string]func() error{
		"overhear": func() error { _, err := bill.SubscribeSync("pgbarrier.in.ship.>"); return err },
		"forge":    func() error { return bill.Publish("pgbarrier.in.ship.anything", []byte("committed")) },
		"pose":     func() error { _, err := bill.SubscribeSync("pgbarrier.v1.hello.*"); return err },
		"listen in on a relay": func() error {
			_, err := bill.SubscribeSync("pgbarrier.v1.relay.*")
			return err
		},
	} {
		if err := try(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-refused:
		case <-time.After(patience):
			t.Errorf("a worker may %s", what)
		}
	}
	do("COMMIT")
	r.ends("through all of that", done, nil)
}

func TestAKilledRelayIsReplacedByAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	relays := []*running{r.relay(r.pool), r.relay(r.pool)}
	c := r.client(ClientConfig{Ping: 100 * time.Millisecond, Silence: 200 * time.Millisecond})
	lost, undo := r.create(r.pool)
	kept, do := r.create(r.pool)
	waits := []<-chan error{r.pending(c, lost), r.pending(c, kept)}
	for _, p := range relays { // whichever has them; the other one of them is left
		if p.relay.Stats().Tokens > 0 {
			p.kill()
			break
		}
	}
	undo("ROLLBACK")
	do("COMMIT")
	r.ends("rolled back", waits[0], pgbarrier.ErrAborted)
	r.ends("committed", waits[1], nil)
}
