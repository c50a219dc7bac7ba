package guard_test

import (
	"context"
	"fmt"

	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
)

func ExampleGuard_Decide() {
	ctx := context.Background()
	var barriers guardtest.Waiter // a *listener.Listener
	g, err := guard.New(&barriers, guard.Config{Require: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	work := func(order string, headers guard.Map) {
		switch d := g.Decide(ctx, headers); d.Verdict {
		case guard.Run:
			fmt.Println(order, "is handled")
		case guard.Drop:
			fmt.Println(order, "is dropped")
		case guard.Later:
			fmt.Println(order, "is given back for", d.After)
		case guard.Reject:
			fmt.Println(order, "is kept for a person:", d.Err)
		}
	}

	placed, cancelled := guardtest.NewToken(), guardtest.NewToken()
	barriers.Commit(placed)
	barriers.Abort(cancelled)
	work("order 7", guard.Map{guard.Header: placed.String()})
	work("order 8", guard.Map{guard.Header: cancelled.String()})
	work("order 9", guard.Map{})
	// Output:
	// order 7 is handled
	// order 8 is dropped
	// order 9 is kept for a person: pgbarrier: the message carries no barrier, and the guard requires one
}

func ExampleDedupID() {
	token := guardtest.NewToken() // from notify.Create
	id := guard.DedupID("order-7", token)
	fmt.Println(id == "order-7."+token.ID.String())
	// Output: true
}
