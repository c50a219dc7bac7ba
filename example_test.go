package pgbarrier_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

func ExampleParseToken() {
	token, err := pgbarrier.ParseToken("pgb1.01a20647-ab41-727a-8a30-423a028cf176.2023.82a1f5eb")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("transaction", token.XID, "barrier of", token.Created().UTC().Format(time.DateOnly))

	_, err = pgbarrier.ParseToken("pgb1.01a20647-ab41-727a-8a30-423a028cf176.2023.82a1")
	fmt.Println(errors.Is(err, pgbarrier.ErrInvalidToken), err)
	// Output:
	// transaction 2023 barrier of 2026-11-23
	// true invalid token: "pgb1.01a20647-ab41-727a-8a30-423a028cf176.2023.82a1": its origin is not 8 lower-case hexadecimal digits; was it cut off?
}
