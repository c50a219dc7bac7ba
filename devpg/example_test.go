package devpg_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier/devpg"
)

func Example() {
	ctx := context.Background()
	pg, err := devpg.Start(ctx, devpg.Config{})
	if err != nil {
		log.Fatal(err) // says what was tried and what to install
	}
	defer pg.Close()

	conn, err := pgx.Connect(ctx, pg.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	var encoding string
	if err := conn.QueryRow(ctx, "show server_encoding").Scan(&encoding); err != nil {
		log.Fatal(err)
	}
	fmt.Println(encoding)
	// Output: UTF8
}
