package relay

import (
	"errors"
	"fmt"

	"github.com/pgbarrier/pgbarrier"
)

// Why a wait is not accepted. A token that is none is pgbarrier.ErrInvalidToken.
var (
	// ErrBusy: a limit is reached. Ask again later, or another relay.
	ErrBusy = errors.New("pgbarrier: relay: too much is waited for: ask again later")

	// ErrUnknownDatabase: this relay serves no database, or not one alone, that the tokens are of. That is no
	// outcome: another relay may.
	ErrUnknownDatabase = errors.New("pgbarrier: relay: the tokens are not of one database that is served here")
)

var errNoTokens = fmt.Errorf("pgbarrier: relay: %w: there is none", pgbarrier.ErrInvalidToken)
