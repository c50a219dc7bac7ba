// Package datalayers holds the tests of package notify in the data layers that Go services use. It has no
// code of its own, and is a module of its own so that nobody else's build sees them.
//
// How a barrier is made in each, one line each, and how its transaction gets into a context, so that
// notify.Current and notify.Inject find it:
//
//	pgx           notify.Create(ctx, tx)
//	              notify.BeginFunc, or notify.WithTx(ctx, tx)
//	database/sql, notify.CreateSQL(ctx, tx)
//	sqlx, bun     notify.WithSQLTx(ctx, tx)
//	gorm          notify.CreateSQL(ctx, tx.Statement.ConnPool.(notify.SQLTx))
//	              notify.WithSQLTx(ctx, tx.Statement.ConnPool.(notify.SQLTx))
//	sqlc          notify.Create or CreateSQL with the transaction that WithTx of the queries takes
//	ent           rows, err := tx.QueryContext(ctx, notify.SQL()), with the feature sql/execquery
//	              notify.WithCreate
//
// Where only an interface is at hand that may be a pool as well, it is the statement; then nothing but care
// keeps it in a transaction:
//
//	gorm          tx.Raw(notify.SQL()).Scan(&token).Error
//	bun.IDB       db.NewRaw(notify.SQL()).Scan(ctx, &token)
//	sqlc's DBTX   db.QueryRow(ctx, notify.SQL()).Scan(&token)
//
// gorm's Raw(…).Row().Scan panics with PrepareStmt if the statement is refused.
//
// Nested transactions of gorm and bun are savepoints of the same *sql.Tx: call notify.WithSQLTx in each. In bun, give
// it your own context: the one that a nested RunInTx hands to its function is that of before the transaction, in
// which a message gets no barrier.
//
//	tx.RunInTx(ctx, nil, func(_ context.Context, tx bun.Tx) error {
//		ctx := notify.WithSQLTx(ctx, tx)
package datalayers
