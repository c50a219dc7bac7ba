package datalayers

import (
	"context"
	"errors"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

type gormOrder struct {
	ID int `gorm:"primaryKey;autoIncrement:false"`
}

func (gormOrder) TableName() string { return "orders" }

func openGorm(t *testing.T, url string, config *gorm.Config) *gorm.DB {
	config.Logger = logger.Discard // errors are what the tests want
	db, err := gorm.Open(postgres.New(postgres.Config{DSN: url}), config)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return db
}

func gormPlain(t *testing.T, url string) layer {
	return gormLayer(openGorm(t, url, &gorm.Config{}))
}

func gormPrepared(t *testing.T, url string) layer {
	return gormLayer(openGorm(t, url, &gorm.Config{PrepareStmt: true}))
}

func gormLayer(db *gorm.DB) layer {
	var run func(ctx context.Context, db *gorm.DB, fn func(transaction) error) error
	run = func(ctx context.Context, db *gorm.DB, fn func(transaction) error) error {
		return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			ctx := notify.WithSQLTx(ctx, tx.Statement.ConnPool.(notify.SQLTx))
			return fn(transaction{
				ctx:    ctx,
				insert: func(id int) error { return tx.Create(&gormOrder{ID: id}).Error },
				create: map[string]create{
					"CreateSQL": func() (pgbarrier.Token, error) {
						return notify.CreateSQL(ctx, tx.Statement.ConnPool.(notify.SQLTx))
					},
					"Raw": func() (token pgbarrier.Token, err error) {
						err = tx.Raw(notify.SQL()).Scan(&token).Error
						return token, err
					},
				},
				nest: func(fn func(transaction) error) error { return run(ctx, tx, fn) },
			})
		})
	}
	return layer{run: func(ctx context.Context, fn func(transaction) error) error { return run(ctx, db, fn) }}
}

// What package notify had documented, and what takes its place.
func TestGormsTransactionIsAnSQLTxAndItsPoolIsNot(t *testing.T) {
	t.Parallel()
	url := server.DatabaseForTest(t)
	for _, config := range []*gorm.Config{{}, {PrepareStmt: true}} {
		db := openGorm(t, url, config)
		if pool, ok := db.Statement.ConnPool.(notify.SQLTx); ok {
			t.Errorf("a pool is taken for a transaction: %T", pool)
		}
		err := db.Transaction(func(tx *gorm.DB) error {
			if _, ok := tx.Statement.ConnPool.(notify.SQLTx); !ok {
				t.Errorf("this is no transaction: %T", tx.Statement.ConnPool)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// gorm hands back an empty row, and used to make us panic.
func TestWhatGormCannotPrepareIsAnErrorThatSaysWhy(t *testing.T) {
	t.Parallel()
	db := openGorm(t, server.DatabaseForTest(t), &gorm.Config{PrepareStmt: true})
	err := db.Transaction(func(tx *gorm.DB) error {
		token, err := notify.CreateSQL(t.Context(), tx.Statement.ConnPool.(notify.SQLTx))
		if !errors.Is(err, pgbarrier.ErrNotMigrated) || !token.IsZero() {
			t.Errorf("there is no schema: %v, %v", token, err)
		}
		return err
	})
	if !errors.Is(err, pgbarrier.ErrNotMigrated) {
		t.Errorf("the transaction ended with %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	err = db.Transaction(func(tx *gorm.DB) error {
		cancel()
		_, err := notify.CreateSQL(ctx, tx.Statement.ConnPool.(notify.SQLTx))
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
}
