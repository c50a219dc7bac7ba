package devpg

import (
	"context"
	"errors"
)

func dockerSite(ctx context.Context, w wish) (*site, error) { return nil, errors.New("not yet") }
