package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// A refusal is an error of COMMIT, or of PREPARE TRANSACTION. All that producers do in a transaction is to
// insert rows that nobody else has, and no lock is left to wait for when they commit. So a refusal is our
// fault unless something was done to the session, or the transaction had used its time up before.

const outOfMemory = "53200" // the SQLSTATE of a full table of locks

// spare is the time that any COMMIT has which does not wait for something.
const spare = time.Second

// noteRefusal counts the refusal of a COMMIT that was sent at that moment, if it is our fault.
func (c *chaos) noteRefusal(tx *transaction, sent moment, err error) {
	if !c.explains(tx, sent, err) {
		c.fail(refused, tx.barriers[0], fmt.Sprintf("the COMMIT that was sent at %s failed at %s: %v", clock(sent), clock(c.now()), err))
	}
}

func (c *chaos) explains(tx *transaction, sent moment, err error) bool {
	if errors.Is(err, pgx.ErrTxCommitRollback) {
		return tx.plan.ending == fails
	}
	code := wire.SQLState(err)
	if code == outOfMemory && tx.plan.ending.prepares() { // which puts the locks that it has into the table of all
		return true
	}
	ended := code == "" || strings.HasPrefix(code, "57P") // the session, without an answer or with one
	if limit := tx.plan.timeouts[transactionTimeout]; limit > 0 && (ended || code == wire.TransactionTimeout) && sent-tx.began > limit-spare {
		return true
	}
	if !ended {
		return false
	}
	_, down := c.outages.longestUp(tx.began, c.now())
	return down || c.terminations.overlap(tx.began, c.now()) || tx.plan.ending.breaksSession()
}
